"""What runs in production: contracts, classifier and ONNX-only server. Knows nothing of training, KFP or clouds."""

import os

# Since 1.29 ONNX Runtime reports to its makers on Linux, too, unless this is set before it is loaded. A value that is
# set already is left alone. https://github.com/microsoft/onnxruntime/pull/27379
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
