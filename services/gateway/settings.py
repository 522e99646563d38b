"""What the gateway is told by its environment."""

from typing import Annotated

from pydantic import Field, SecretStr

from services.shared.settings import Addresses, ProcessSettings

Key = Annotated[SecretStr, Field(min_length=16, max_length=512)]


class GatewaySettings(ProcessSettings):
    routers: Annotated[Addresses, Field(min_length=1)] = Field(description="router replicas: host:port,host:port")
    api_key: Key = Field(description="the key that clients send as `Authorization: Bearer`")
    admin_key: Key = Field(description="the operator's key; it opens everything")
    max_body_bytes: int = Field(2 * 1024 * 1024, ge=1024, description="largest request; larger ones are refused")
    max_open_requests: int = Field(10_000, ge=1, description="requests held at once; more are refused with Retry-After")
    body_timeout_s: float = Field(30.0, gt=0, description="a request must have arrived whole by then")
    request_timeout_s: float = Field(900.0, gt=0, description="an answer must be complete by then")
    stall_timeout_s: float = Field(30.0, gt=0, description="a client that reads nothing for so long is dropped")
    router_patience_s: float = Field(5.0, gt=0, description="requests wait so long for a lost router, then get 503")
