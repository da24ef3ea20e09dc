"""X on a device such as a graphics card, which makes the products of a pass.

A solver gets each block of X as an `Operand`. Its matrix products are made on the device, and their
results are arrays in the memory of this process; all else sees the block there. So the solvers are
those of one machine. The compiled row problems stay on the processor. While threads solve the rows
of some blocks, the device multiplies others.

Blocks stay on the device as long as it has room. The others are copied to it in every pass.

The module knows namespaces of the array API only; `opened` names the one of torch.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import psutil
from numpy.typing import DTypeLike

from opnmf_pipeline.decomposition.passes import FEW_ROWS, Array, RowBlocks
from opnmf_pipeline.exceptions import DeviceError

T = TypeVar("T")

BLOCK_BYTES = 2**25
"""Size of a block of X: a device needs more work at once than a core with its cache does."""

SHARE = 0.7
"""Share of the free memory for blocks that stay; the rest is for blocks that do not, and for
products."""

TRIAL_SIZE = 256
"""Side of the matrices of the trial product: libraries multiply small ones in other ways."""

NOT_INSTALLED_MSG = (
    "device={name!r} requires torch and array-api-compat ({error}); install them with pip install "
    '"opnmf-pipeline[gpu]", or remove the device'
)
UNUSABLE_MSG = "device={name!r} cannot be used: {error}"
INEXACT_MSG = (
    "device={name!r} multiplies {dtype} with fewer digits than it has, so that results would be "
    "less precise; call torch.set_float32_matmul_precision('highest'), or unset the environment "
    "variable TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"
)


class Device:
    """A device, as a namespace of the array API sees it.

    Parameters
    ----------
    xp : namespace
        Of the array API.
    place : object
        The device, as the namespace calls it.
    fetch : callable
        Returns an array on the device as a NumPy array.
    room : int
        Bytes for blocks of X that stay on the device.
    stream : callable
        Returns the context in which a thread uses the device.
    """

    def __init__(
        self,
        xp: Any,
        place: Any,
        fetch: Callable[[Any], Array],
        room: int,
        stream: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self._xp = xp
        self._place = place
        self.fetch = fetch
        self.room = room
        self._lock = threading.Lock()
        self.stream = stream

    def put(self, array: Array) -> Any:
        """Return an array of this process on the device."""
        # torch takes no array that cannot be written to, and none with steps backwards
        return self._xp.asarray(np.require(array, requirements=["C", "W"]), device=self._place)

    def cast(self, there: Any, dtype: np.dtype) -> Any:
        """Return an array on the device in another dtype."""
        return self._xp.astype(there, getattr(self._xp, dtype.name), copy=False)

    def reserve(self, n_bytes: int) -> bool:
        """Return whether an array of this size may stay on the device."""
        with self._lock:
            fits = n_bytes <= self.room
            self.room -= n_bytes if fits else 0
        return fits

    def release(self, n_bytes: int) -> None:
        """Say that arrays of this size no longer stay."""
        with self._lock:
            self.room += n_bytes


class Operand:
    """A matrix whose products a device makes; for all else it is an array of this process.

    Parameters
    ----------
    device : Device
        Makes the products.
    shape, dtype
        Of the matrix.
    host, there : callable
        Return the matrix in the memory of this process, and on the device. They are called once,
        when the matrix is first needed there.
    """

    def __init__(
        self,
        device: Device,
        shape: tuple[int, int],
        dtype: np.dtype,
        host: Callable[[], Array],
        there: Callable[[], Any],
    ) -> None:
        self.device = device
        self.shape = shape
        self.dtype = dtype
        self._make_host = host
        self._make_there = there

    @cached_property
    def host(self) -> Array:
        """The matrix in the memory of this process."""
        return self._make_host()

    @cached_property
    def there(self) -> Any:
        """The matrix on the device."""
        return self._make_there()

    @property
    def T(self) -> "Operand":
        """The transposed matrix."""
        return Operand(
            self.device, self.shape[::-1], self.dtype, lambda: self.host.T, lambda: self.there.T
        )

    def astype(self, dtype: DTypeLike) -> "Operand":
        """Return the matrix in another dtype."""
        dtype = np.dtype(dtype)
        return Operand(
            self.device,
            self.shape,
            dtype,
            lambda: self.host.astype(dtype),
            lambda: self.device.cast(self.there, dtype),
        )

    def __matmul__(self, other: "Array | Operand") -> Array:
        """Return the product, made on the device in the dtype that NumPy would choose."""
        dtype = np.result_type(self.dtype, other.dtype)
        right = other.there if isinstance(other, Operand) else self.device.put(other)
        cast = self.device.cast
        return self.device.fetch(cast(self.there, dtype) @ cast(right, dtype))

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        return np.array(self.host, dtype, copy=copy)

    def __getitem__(self, index: Any) -> Array:
        part: Array = self.host[index]
        return part

    def __len__(self) -> int:
        return self.shape[0]


class DeviceBlocks(RowBlocks):
    """X as row blocks whose products a device makes.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_columns)
        The data.
    dtype : dtype or its name
        The dtype to compute in.
    device : Device
        Makes the products.
    n_threads : int, optional
        Number of worker threads, which solve row problems and wait for the device.
    compressed, original
        As in `RowBlocks`.
    """

    def __init__(
        self,
        X: Array,
        dtype: DTypeLike,
        device: Device,
        n_threads: int | None = None,
        *,
        compressed: bool = False,
        original: RowBlocks | None = None,
    ) -> None:
        super().__init__(X, dtype, n_threads, compressed=compressed, original=original)
        self.device = device
        # a device adds the products of a block in the dtype of the arithmetic
        fitting = BLOCK_BYTES // (self.dtype.itemsize * X.shape[1])
        n_block = min(max(64, fitting), FEW_ROWS)
        self.blocks = [slice(i, i + n_block) for i in range(0, X.shape[0], n_block)]
        self._kept: dict[int, Any] = {}
        self._n_bytes_kept = 0

    def block(self, rows: slice) -> Any:
        """Return rows of X as an operand of the device."""
        n_rows = min(rows.stop, self.shape[0]) - rows.start
        shape = n_rows, self.shape[1]

        def there() -> Any:
            return self._there(rows, n_rows * self.shape[1] * self.dtype.itemsize)

        return Operand(self.device, shape, self.dtype, lambda: self[rows], there)

    def map(self, function: Callable[[slice, Array], T]) -> Iterator[T]:
        """Yield ``function(rows, X[rows])`` for each block, in order."""

        def work(rows: slice, X_b: Array) -> T:
            with self.device.stream():
                return function(rows, X_b)

        return super().map(work)

    def rescale(self, largest: float) -> None:
        """Multiply X by the power of two that brings its largest value into (½, 1]."""
        super().rescale(largest)
        self._drop()

    def with_rows(
        self, rows: Array, *, compressed: bool = False, original: RowBlocks | None = None
    ) -> RowBlocks:
        """Return other data, whose products the same device makes."""
        return DeviceBlocks(
            rows,
            self.dtype,
            self.device,
            self.n_threads,
            compressed=compressed,
            original=original,
        )

    def __exit__(self, *exc_info: object) -> None:
        super().__exit__(*exc_info)
        self._drop()

    def _there(self, rows: slice, n_bytes: int) -> Any:
        """Return rows on the device, where they stay if it has room."""
        if rows.start in self._kept:
            return self._kept[rows.start]
        there = self.device.put(self[rows])
        if self.device.reserve(n_bytes):
            self._kept[rows.start] = there
            self._n_bytes_kept += n_bytes
        return there

    def _drop(self) -> None:
        """Give back the memory of the device."""
        self._kept.clear()
        self.device.release(self._n_bytes_kept)
        self._n_bytes_kept = 0


@contextmanager
def on_device(
    X: Array, dtype: DTypeLike, name: str, n_threads: int | None
) -> Iterator[DeviceBlocks]:
    """Yield X as row blocks whose products a device makes, by its name in torch."""
    with DeviceBlocks(X, dtype, opened(name), n_threads) as blocks:
        yield blocks


def opened(name: str) -> Device:
    """Return a device by its name in torch.

    Raises
    ------
    DeviceError
        torch is not installed, there is no such device, or it rounds numbers before it multiplies
        them, such as to TF32.
    """
    try:
        import torch
        from array_api_compat import to_device
        from array_api_compat import torch as xp
    except ImportError as error:
        raise DeviceError(NOT_INSTALLED_MSG.format(name=name, error=error)) from error

    def fetch(there: Any) -> Array:
        return np.asarray(to_device(there, "cpu"))

    try:
        place = torch.device(name)
        check_precision(Device(xp, place, fetch, 0), name)
        free = _free_bytes(torch, place)
    except (AssertionError, RuntimeError, TypeError) as error:  # all of them come from torch
        raise DeviceError(UNUSABLE_MSG.format(name=name, error=error)) from error
    return Device(xp, place, fetch, int(SHARE * free), _streams(torch, place))


def check_precision(device: Device, name: str) -> None:
    """Refuse a device that rounds numbers before it multiplies them."""
    for dtype in np.dtype(np.float32), np.dtype(np.float64):
        value: Any = dtype.type(1 + 8 * np.finfo(dtype).eps)
        ones = np.ones((TRIAL_SIZE, TRIAL_SIZE), dtype)
        matrix = value * np.eye(TRIAL_SIZE, dtype=dtype)
        product = device.fetch(device.put(matrix) @ device.put(ones))
        if not np.array_equal(product, value * ones):
            raise DeviceError(INEXACT_MSG.format(name=name, dtype=dtype))


def _free_bytes(torch: Any, place: Any) -> int:
    """Return the free memory of a device."""
    if place.type == "cpu":
        return int(psutil.virtual_memory().available)
    return int(getattr(torch, place.type).mem_get_info(place.index)[0])


def _streams(torch: Any, place: Any) -> Callable[[], AbstractContextManager[Any]]:
    """Return what gives each thread a queue of its own, so that copies and products overlap."""
    if place.type != "cuda":
        return nullcontext
    own = threading.local()

    def of_thread() -> AbstractContextManager[Any]:
        if not hasattr(own, "stream"):
            own.stream = torch.cuda.Stream(place)
        context: AbstractContextManager[Any] = torch.cuda.stream(own.stream)
        return context

    return of_thread
