"""The four service classes, in order of rank, and their names on each wire."""

from enum import IntEnum

from tidegate.router.v1 import router_pb2


class ServiceClass(IntEnum):
    """Value is rank: lower goes first."""

    PRIORITY = 0
    DEFAULT = 1
    FLEX = 2
    BATCH = 3

    def __init__(self, _: int) -> None:
        # Asked for several times a request: an enum's `name` is looked up the long way.
        self.label = self._name_.lower()

    @property
    def proto(self) -> router_pb2.ServiceClass.ValueType:
        return router_pb2.ServiceClass.ValueType(self.value + 1)

    @classmethod
    def of_label(cls, label: str) -> "ServiceClass":
        """Raises KeyError for an unknown name."""
        return cls[label.upper()]

    @classmethod
    def of_proto(cls, value: int) -> "ServiceClass":
        """Raises ValueError for SERVICE_CLASS_UNSPECIFIED and unknown numbers."""
        return cls(value - 1)
