"""The four service classes in order of rank, and their names in JSON and in proto messages."""

from enum import IntEnum

from tidegate.router.v1 import router_pb2


class ServiceClass(IntEnum):
    """A service class. Its value is its rank: the lowest goes first."""

    PRIORITY = 0
    DEFAULT = 1
    FLEX = 2
    BATCH = 3

    def __init__(self, _: int) -> None:
        # Read several times for each request, and an enum's `name` is slow to read.
        self.label = self._name_.lower()

    @property
    def proto(self) -> router_pb2.ServiceClass.ValueType:
        """The value in proto messages."""
        return router_pb2.ServiceClass.ValueType(self.value + 1)

    @classmethod
    def of_label(cls, label: str) -> "ServiceClass":
        """The class with that name in JSON, such as `flex`.

        Raises:
            KeyError: There is no such class.
        """
        return cls[label.upper()]

    @classmethod
    def of_proto(cls, value: int) -> "ServiceClass":
        """The class with that value in proto messages.

        Raises:
            ValueError: The value is SERVICE_CLASS_UNSPECIFIED or unknown.
        """
        return cls(value - 1)
