"""The gateway's tables. A change here needs a migration in database/migrations/versions."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData()

tenants = Table(
    "tenants",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("weight", Float, nullable=False),
    Column("tiers", JSON, nullable=False),
)

keys = Table(
    "api_keys",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("tenant", String(64), ForeignKey("tenants.name"), nullable=False),
    Column("name", String(128), nullable=False),
    Column("prefix", String(16), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
    # The key before the last rotation; it may still be valid for a while.
    Column("former_digest", String(64), unique=True),
    Column("former_until", Float),
    Column("role", String(16), nullable=False),
    Column("models", JSON),
    Column("tiers", JSON),
    Column("requests_per_minute", BigInteger),
    Column("tokens_per_minute", BigInteger),
    Column("concurrency", BigInteger),
    Column("budget_tokens", BigInteger),
    Column("budget_period", String(8)),
    Column("created", Float, nullable=False),
    Column("expires", Float),
    Column("revoked", Float),
    Index("api_keys_by_tenant", "tenant", "created"),
)

ledger = Table(
    "ledger",
    metadata,
    Column("request_id", String(64), primary_key=True),
    Column("accepted", Float, nullable=False),
    Column("tenant", String(64), nullable=False),
    Column("key_id", String(40), nullable=False),
    Column("model", String(256), nullable=False),
    Column("version", String(128), nullable=False),
    Column("tier_asked", String(16), nullable=False),
    Column("tier", String(16), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("queue_wait_ms", Integer, nullable=False),
    Column("ttft_ms", Integer),
    Column("duration_ms", BigInteger, nullable=False),
    Index("ledger_by_time", "accepted"),
    Index("ledger_by_key", "key_id", "accepted"),
)

# Sums of the ledger, changed in the transaction that adds its rows. Reports and budgets read only these.
usage = Table(
    "usage_by_day",
    metadata,
    Column("key_id", String(40), primary_key=True),
    Column("day", String(10), primary_key=True),
    Column("tenant", String(64), primary_key=True),
    Column("model", String(256), primary_key=True),
    Column("version", String(128), primary_key=True),
    Column("tier", String(16), primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Index("usage_by_day_and_tenant", "day", "tenant"),
)

# Responses that clients may read again or continue. What they say may be encrypted.
responses = Table(
    "responses",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("created", Float, nullable=False),
    Column("expires", Float, nullable=False),
    Column("status", String(16), nullable=False),
    # When the gateway that makes the response last said so.
    Column("beat", Float, nullable=False),
    Column("previous", String(64)),
    Column("background", Boolean, nullable=False),
    Column("size", Integer, nullable=False),
    Column("document", LargeBinary, nullable=False),
    Column("input", LargeBinary, nullable=False),
    Index("responses_by_tenant", "tenant", "created", "size"),
    Index("responses_by_expiry", "expires"),
    Index("responses_by_status", "status", "beat"),
)

# Conversations that responses continue, and the items of each in order. What they say may be encrypted.
# To delete a conversation deletes its items.
conversations = Table(
    "conversations",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("created", Float, nullable=False),
    # When something was last added.
    Column("used", Float, nullable=False),
    Column("expires", Float, nullable=False),
    Column("next_position", BigInteger, nullable=False),
    # Number and bytes of the items.
    Column("length", Integer, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("metadata", LargeBinary, nullable=False),
    Index("conversations_by_tenant", "tenant", "used", "size"),
    Index("conversations_by_expiry", "expires"),
)

conversation_items = Table(
    "conversation_items",
    metadata,
    Column("conversation", String(64), ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("id", String(64), nullable=False),
    Column("size", Integer, nullable=False),
    Column("document", LargeBinary, nullable=False),
    Index("conversation_items_by_id", "conversation", "id", unique=True),
)

# What happened in rollouts, as the routers tell it. Their Redis forgets it after a while, or when it loses its data.
rollout_events = Table(
    "rollout_events",
    metadata,
    Column("pool", String(128), primary_key=True),
    Column("rollout", String(64), primary_key=True),
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Float, nullable=False),
    Column("event", String(32), nullable=False),
    Column("version", String(64), nullable=False),
    Column("previous_version", String(64), nullable=False),
    Column("policy", String(16), nullable=False),
    Column("step", Integer, nullable=False),
    Column("who", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("mode", String(16), nullable=False, server_default=""),
    Index("rollout_events_by_time", "pool", "at"),
)
