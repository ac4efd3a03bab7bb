"""Whether this machine can run TensorRT: its bindings, its libraries, a GPU. Can be imported where they are not."""

from dataclasses import dataclass
from typing import Any

from models.errors import BackendMissingError

_INSTALL = "Install the extra tensorrt (pip install '.[tensorrt]') on a machine with an NVIDIA GPU."


@dataclass(frozen=True)
class Gpu:
    """What an engine depends on besides its graph.

    Attributes:
        name: the product's, such as NVIDIA H200.
        architecture: sm90 for compute capability 9.0.
        tensorrt: version of TensorRT.
    """

    name: str
    architecture: str
    tensorrt: str


def this_gpu() -> Gpu:
    """The GPU that TensorRT would use.

    Raises:
        BackendMissingError: TensorRT or a GPU is missing; one sentence says which and what to do.
    """
    try:
        import tensorrt as trt
    except (ImportError, OSError) as error:
        raise BackendMissingError(f"TensorRT is not installed here ({error}). {_INSTALL}") from error
    try:
        from cuda.bindings import runtime as cudart
    except (ImportError, OSError) as error:
        raise BackendMissingError(f"cuda-python is not installed here ({error}). {_INSTALL}") from error
    properties = _properties(cudart)
    try:
        trt.Runtime(trt.Logger(trt.Logger.ERROR))
    except TypeError as error:  # the library's factory gave nothing
        raise BackendMissingError(f"TensorRT {trt.__version__} cannot start here ({error}). {_INSTALL}") from error
    name = properties.name.decode() if isinstance(properties.name, bytes) else str(properties.name)
    return Gpu(name=name.rstrip("\0"), architecture=f"sm{properties.major}{properties.minor}", tensorrt=trt.__version__)


def why_unavailable() -> str | None:
    """One sentence on why this machine cannot run TensorRT, or None where it can."""
    try:
        this_gpu()
    except BackendMissingError as error:
        return str(error)
    return None


def _properties(cudart: Any) -> Any:
    success = cudart.cudaError_t.cudaSuccess
    status, count = cudart.cudaGetDeviceCount()
    if status != success or not count:
        reason = cudart.cudaGetErrorString(status)[1].decode() if status != success else "there is none"
        raise BackendMissingError(f"TensorRT needs an NVIDIA GPU, and CUDA finds none here: {reason}. {_INSTALL}")
    status, properties = cudart.cudaGetDeviceProperties(0)
    if status != success:
        raise BackendMissingError(
            f"CUDA does not answer about the GPU: {cudart.cudaGetErrorString(status)[1].decode()}."
        )
    return properties
