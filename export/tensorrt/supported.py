"""Which ONNX operators and types TensorRT's parser reads (its operator matrix for TensorRT 11, opsets 9 to 24)."""

from onnx import TensorProto

OPSETS = range(9, 25)

# Read at all; what is restricted of them stands in export.tensorrt.restrictions.
_NAMES = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh Attention AveragePool BatchNormalization BlackmanWindow
Cast CastLike Ceil Celu Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DeformConv
DepthToSpace DequantizeLinear Div Dropout Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather
GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample
GroupNormalization HammingWindow HannWindow HardSigmoid HardSwish Hardmax Identity If InstanceNormalization IsInf
IsNaN LRN LSTM LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax Loop LpNormalization LpPool MatMul Max
MaxPool Mean MeanVarianceNormalization Min Mish Mod Mul Neg NonMaxSuppression NonZero Not OneHot Or PRelu Pad Pow
QuantizeLinear RMSNormalization RNN RandomNormal RandomNormalLike RandomUniform RandomUniformLike Range Reciprocal
ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare
Relu Reshape Resize ReverseSequence RoiAlign RotaryEmbedding Round STFT Scan Scatter ScatterElements ScatterND Selu
Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum
Swish Tan Tanh TensorScatter ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Upsample Where Xor
"""
OPERATORS = frozenset(_NAMES.split())

# What to write instead of an operator that is not read.
INSTEAD = {
    "DynamicQuantizeLSTM": "export the set gpu-fp16; int8 sets are for ONNX Runtime on the CPU",
    "DynamicQuantizeLinear": "export the set gpu-fp16; int8 sets are for ONNX Runtime on the CPU",
    "MatMulInteger": "export the set gpu-fp16; int8 sets are for ONNX Runtime on the CPU",
    "ConvInteger": "export the set gpu-fp16; int8 sets are for ONNX Runtime on the CPU",
    "QLinearMatMul": "export the set gpu-fp16; int8 sets are for ONNX Runtime on the CPU",
    "Multinomial": "sample outside the graph; the server does",
    "Bernoulli": "sample outside the graph; the server does",
    "Unique": "sort and compare adjacent values outside the graph",
    "Compress": "use Gather with indices computed outside, or a mask and Where",
}
OTHERWISE = "write it with operators that TensorRT reads, or run the graph on onnxruntime-cuda"

# Types of values inside a network. DOUBLE is read and narrowed to float32, which is another answer; UINT8 is for inputs
# and outputs alone; INT8 and the like exist only between QuantizeLinear and DequantizeLinear.
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)
TYPES = frozenset((*_FLOATS, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL))
QUANTIZED = frozenset((TensorProto.INT8, TensorProto.INT4, TensorProto.FLOAT8E4M3FN))
