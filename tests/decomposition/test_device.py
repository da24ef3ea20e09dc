"""Fits whose products a device makes: the same results, and what is copied to the device.

The device is one of array-api-strict, which is in this process and lets no array pass to NumPy by
itself. Where torch is installed, it makes the same fits.
"""

import sys
from functools import partial

import numpy as np
import pytest

from opnmf_pipeline.decomposition import OPNMF, accelerated, device, orthonormal
from opnmf_pipeline.decomposition.passes import RowBlocks, moments
from opnmf_pipeline.decomposition.solvers import SOLVERS
from opnmf_pipeline.exceptions import DeviceError
from tests.decomposition.conftest import strict_device

pytest.importorskip("array_api_strict")

pytestmark = pytest.mark.filterwarnings("ignore::opnmf_pipeline.exceptions.ConvergenceWarning")

K, N_ROWS, N_COLUMNS = 3, 700, 30
BLOCK_ROWS = 100
N_BLOCKS = 7
BLOCK = 4 * BLOCK_ROWS * N_COLUMNS
"""Bytes of a block of float32."""

ALL, NONE, SOME = 2**30, 0, 5 * BLOCK // 2
"""Bytes of the device: for all blocks, for none, for two of them."""


@pytest.fixture
def opened(monkeypatch):
    """Return a function that sets the device that fits get: a new one, or a given one."""

    def of(room, made=None):
        monkeypatch.setattr(device, "opened", lambda name: made or strict_device(room))

    return of


@pytest.fixture(autouse=True)
def several_blocks(monkeypatch):
    monkeypatch.setattr(device, "BLOCK_BYTES", BLOCK)


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    W = rng.gamma(0.3, size=(N_ROWS, K))
    return (W @ rng.gamma(1.0, size=(K, N_COLUMNS)) + 0.1 * rng.random((N_ROWS, N_COLUMNS))).astype(
        np.float32
    )


def both(X, name="cuda", **settings):
    """Return a fit without and a fit with the device."""
    alone = OPNMF(K, random_state=0, **settings).fit(X)
    return alone, OPNMF(K, random_state=0, device=name, **settings).fit(X)


def close(one, other, tolerance=1e-5):
    """Whether two fits are equal but for rounding errors."""
    for name in "coef_", "components_":
        first, second = getattr(one, name), getattr(other, name)
        assert first.dtype == second.dtype
        np.testing.assert_allclose(first, second, atol=tolerance * second.max())
    assert one.reconstruction_err_ == pytest.approx(other.reconstruction_err_, rel=tolerance)
    assert one.n_passes_ == other.n_passes_


@pytest.mark.parametrize("room", [ALL, NONE], ids=["kept", "copied"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("solver", SOLVERS)
def test_fit_on_a_device_is_the_fit_in_memory(X, opened, solver, dtype, tolerance, room):
    opened(room)
    close(*both(X, solver=solver, dtype=dtype, max_iter=5), tolerance)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_torch_makes_the_same_fit(X, solver, dtype):
    pytest.importorskip("torch")
    close(*both(X, "cpu", solver=solver, dtype=dtype, max_iter=5))


@pytest.mark.parametrize(("module", "name"), [(accelerated, "solver"), (orthonormal, "assigner")])
def test_without_compiled_code(X, opened, monkeypatch, module, name):
    monkeypatch.setattr(module, f"row_{name}", lambda dtype: None)
    opened(ALL)
    close(*both(X, solver=module.__name__.rpartition(".")[2], max_iter=5))


def test_wide_data(X, opened):
    """The square data that stand in for them are on the device, too."""
    put, made = [], strict_device(ALL)
    plain = made.put
    made.put = lambda array: put.append(array.shape) or plain(array)
    opened(ALL, made)
    close(*both(X[:20], solver="orthonormal", max_iter=5))
    assert (20, 20) in put


def test_compressed_data(X, opened, monkeypatch):
    monkeypatch.setattr("opnmf_pipeline.decomposition.compression.GRAM_COLUMNS", 10)
    monkeypatch.setattr("opnmf_pipeline.decomposition.compression.LEAST_RATIO", 1)
    monkeypatch.setattr("opnmf_pipeline.decomposition.spectrum.KRYLOV_BLOCKS", 1)
    monkeypatch.setattr("opnmf_pipeline.decomposition.compression.KRYLOV_BLOCKS", 1)
    opened(SOME)
    alone, there = both(X, solver="adaptive", max_iter=8)
    assert there.compression_loss_ > 0
    close(alone, there)


def test_a_file_of_any_dtype_and_unit(X, opened, tmp_path):
    np.save(tmp_path / "X.npy", (1000 * X).astype(np.uint16))
    opened(SOME)
    close(*both(np.load(tmp_path / "X.npy", mmap_mode="r"), solver="accelerated", max_iter=5))


@pytest.mark.parametrize(("room", "n_copied"), [(ALL, 0), (NONE, N_BLOCKS), (SOME, N_BLOCKS - 2)])
def test_blocks_stay_while_there_is_room(X, room, n_copied):
    made, copied = strict_device(room), []
    plain = made.put
    made.put = lambda array: copied.append(array.shape == (BLOCK_ROWS, N_COLUMNS)) or plain(array)
    W = np.random.default_rng(0).random((N_ROWS, K), dtype=np.float32)
    with device.DeviceBlocks(X, "float32", made, 2) as blocks, RowBlocks(X, "float32") as local:
        np.testing.assert_allclose(moments(blocks, W).M, moments(local, W).M, rtol=1e-5)
        assert sum(copied) == N_BLOCKS
        copied.clear()
        moments(blocks, W)
        assert sum(copied) == n_copied
        blocks.rescale(0.2)  # all are copied again
        copied.clear()
        np.testing.assert_allclose(moments(blocks, W).M, 4 * moments(local, W).M, rtol=1e-5)
        assert sum(copied) == N_BLOCKS
    assert made.reserve(room)  # all of it is free again


@pytest.mark.parametrize("solver", ["accelerated", "orthonormal"])
def test_row_problems_need_the_products_only(X, opened, monkeypatch, solver):
    """Passes of the solvers do not read the values of X in the memory of this process."""
    opened(ALL)
    fit = OPNMF(K, solver=solver, max_iter=4, tol=0, random_state=0, n_init=1, device="cuda")
    read, reads = device.DeviceBlocks.__getitem__, []
    monkeypatch.setattr(
        device.DeviceBlocks, "__getitem__", lambda self, i: reads.append(i) or read(self, i)
    )
    seen = []
    fit.set_params(callback=lambda record: seen.append(len(reads))).fit(X)
    assert seen[0] > 0
    assert len(set(seen)) == 1


def test_a_block_is_at_most_as_many_rows_as_are_added_in_its_dtype(monkeypatch):
    monkeypatch.setattr(device, "BLOCK_BYTES", 2**30)
    monkeypatch.setattr(device, "FEW_ROWS", 300)
    blocks = device.DeviceBlocks(np.ones((700, 2), np.float32), "float32", strict_device(ALL))
    assert [rows.stop - rows.start for rows in blocks.blocks] == [300, 300, 300]


def test_an_operand_behaves_as_the_array(X):
    made = strict_device(ALL)
    operand = device.Operand(made, X.shape, X.dtype, lambda: X, partial(made.put, X))
    doubles = np.random.default_rng(0).random((N_COLUMNS, K))[:, ::-1]
    for one in operand, operand.T.T, operand.astype(np.float64):
        product = one @ doubles
        assert product.dtype == np.float64
        np.testing.assert_allclose(product, X @ doubles)
    singles = np.ones((N_COLUMNS, K), np.float32)
    singles.flags.writeable = False
    product = operand @ singles
    assert product.dtype == np.float32
    assert product.flags.writeable  # solvers overwrite it
    np.testing.assert_allclose(product, X @ singles, rtol=1e-6)
    np.testing.assert_allclose(operand.T @ operand, X.T @ X, rtol=1e-5)
    np.testing.assert_array_equal(operand - X, 0 * X)
    np.testing.assert_array_equal(operand[5:7], X[5:7])
    np.testing.assert_array_equal(np.asarray(operand.T), X.T)
    assert len(operand) == N_ROWS


@pytest.mark.parametrize("other", [{"missing": "masked"}, {"scheduler": "tcp://127.0.0.1:1"}])
def test_other_places_are_refused(X, other):
    with pytest.raises(ValueError, match="only one of missing='masked', scheduler and device"):
        OPNMF(K, device="cuda", **other).fit(X)


def test_torch_is_only_imported_for_a_device(X, monkeypatch):
    for name in "torch", "array_api_compat":
        monkeypatch.setitem(sys.modules, name, None)
    fit = OPNMF(K, solver="orthonormal", max_iter=2).fit(X)
    with pytest.raises(DeviceError, match=r"'cuda' requires torch and .*\"opnmf-pipeline\[gpu\]\""):
        fit.set_params(device="cuda").fit(X)


@pytest.mark.parametrize("name", ["cuda:99", "gpu", "meta"])
def test_a_device_that_does_not_exist(X, name):
    pytest.importorskip("torch")
    with pytest.raises(DeviceError, match=f"device='{name}' cannot be used: "):
        OPNMF(K, device=name).fit(X)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rounded_products_are_refused(monkeypatch, dtype):
    """As those of float32 with TF32, and those of float64 on devices that know float32 only."""
    made = strict_device(ALL)
    device.check_precision(made, "cuda")
    fewer = {"float32": np.float16, "float64": np.float32}[dtype]
    plain = made.put

    def put(array):
        return plain(array.astype(fewer).astype(dtype) if array.dtype == dtype else array)

    made.put = put
    with pytest.raises(DeviceError, match=f"multiplies {dtype} with fewer digits than it has"):
        device.check_precision(made, "cuda")


def test_torch_has_no_tf32_by_default():
    torch = pytest.importorskip("torch")
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.backends.cuda.matmul.allow_tf32
