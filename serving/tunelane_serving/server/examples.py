"""Example answers by operation: what the documentation shows beside the types. Made of the structs, so they fit."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from tunelane_serving.package import Tensor
from tunelane_serving.server.inference_protocol import (
    InferOutput,
    InferResponse,
    Live,
    ModelMetadata,
    ModelReady,
    Ready,
    ServerMetadata,
    TensorMetadata,
)
from tunelane_serving.server.routes.vertex import VertexPredictions
from tunelane_serving.server.wire import (
    BatchPrediction,
    Bucket,
    Drift,
    Event,
    Events,
    FeatureDrift,
    Features,
    FeedbackReceipt,
    Health,
    HealthML,
    LoadedModel,
    ModelVersions,
    MonitoringMetrics,
    Personalization,
    Prediction,
    RankedProduct,
    UploadedModel,
)

_DIGEST = "b01af48a41fe8c87882e3c2836d553ea363f5288cc893e1a87c8aec4ea18452b"
_ENCODER_DIGEST = "5c9d0e6f0b3a4d7c8e21f6a9b4c3d2e1f00918273645546372819a0bacbdcedf"
_NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
_GOOD = Prediction(
    label="positive",
    labels=("positive",),
    confidence=0.982,
    scores={"negative": 0.018, "positive": 0.982},
    inference_id="187a2f0c5d3e4b10a1b2c3d4e5f60718",
    model="sentiment",
    model_version="3",
    digest=_DIGEST,
    variant="int8",
    latency_ms=2.9,
)
_BAD = msgspec.structs.replace(
    _GOOD,
    label="negative",
    labels=("negative",),
    confidence=0.995,
    scores={"negative": 0.995, "positive": 0.005},
    inference_id="187a2f0c5d3e4b11f8e7d6c5b4a39281",
)
_HEALTH = Health(
    live=True,
    ready=True,
    model="sentiment",
    model_version="3",
    digest=_DIGEST,
    variant="int8",
    framework="onnx",
    backend="onnxruntime 1.31.1",
)
_UPLOADED = UploadedModel(
    model_id="encoder",
    version="1",
    digest=_ENCODER_DIGEST,
    framework="onnx",
    task="embedding",
    stage="development",
    size_bytes=91_234_567,
    uploaded_at=_NOON,
    inputs=(
        Tensor("input_ids", "int64", ("batch", "sequence")),
        Tensor("attention_mask", "int64", ("batch", "sequence")),
    ),
    outputs=(Tensor("last_hidden_state", "float32", ("batch", "sequence", 384)),),
    labels=(),
    metadata={"team": "search"},
)
_FEATURES = Features("user-17", {"text": "it was a good film", "age": 3}, _NOON)
_INFERRED = InferResponse(
    model_name="sentiment",
    model_version="3",
    outputs=(
        InferOutput("label", (1,), "BYTES", ["positive"]),
        InferOutput("scores", (1, 2), "FP32", [0.018, 0.982]),
    ),
    id="42",
    parameters={"digest": _DIGEST, "inference_ids": _GOOD.inference_id},
)
_EMBEDDED = InferResponse(
    model_name="encoder",
    model_version="1",
    outputs=(InferOutput("embedding", (1, 4), "FP32", [0.5, -0.5, 0.5, 0.5]),),
    id="42",
    parameters={"digest": _ENCODER_DIGEST, "inference_ids": _GOOD.inference_id},
)
_TEXT_INPUT = (TensorMetadata("text", "BYTES", (-1,)),)

# By `openapi.operation_id`.
ANSWERS: Mapping[str, msgspec.Struct] = {
    "post_predict": _GOOD,
    "post_batch_predict": BatchPrediction((_GOOD, _BAD)),
    "post_feedback": FeedbackReceipt(_GOOD.inference_id, _NOON),
    "get_monitoring_events": Events(
        (
            Event(
                id=_GOOD.inference_id,
                time=_NOON,
                model="sentiment",
                model_version="3",
                digest=_DIGEST,
                framework="onnx",
                status="ok",
                latency_ms=2.9,
                input="it was a good film",
                input_hashed=False,
                prediction=("positive",),
                confidence=0.982,
                error="",
                request_id="9f2c6a0d4b8e4c51a3d7e6f508192a3b",
                user_id="",
                session_id="",
                outcome="positive",
                correct=True,
                feedback_time=_NOON + timedelta(seconds=8),
            ),
        ),
        next_cursor=None,
    ),
    "get_monitoring_metrics": MonitoringMetrics(
        model="sentiment",
        model_version="3",
        since=_NOON - timedelta(hours=1),
        until=_NOON,
        count=1280,
        errors=2,
        mean_latency_ms=3.4,
        p50_latency_ms=2.9,
        p95_latency_ms=6.8,
        p99_latency_ms=11.2,
        mean_confidence=0.941,
        feedback_count=96,
        accuracy=0.927,
        labels={"negative": 512, "positive": 766},
        buckets=(Bucket(_NOON - timedelta(hours=1), 1280, 2, 3.4, 6.8, 0.941, 0.927),),
    ),
    "get_monitoring_drift": Drift(
        model="sentiment",
        model_version="3",
        digest=_DIGEST,
        since=_NOON - timedelta(days=1),
        until=_NOON,
        events=1280,
        minimum_events=100,
        alpha=0.01,
        status="none",
        features=(
            FeatureDrift(
                name="label",
                psi=0.012,
                threshold=0.1,
                drifted=False,
                events=1278,
                reference_count=2000,
                bins=("negative", "positive"),
                reference=(0.46, 0.54),
                live=(0.4, 0.6),
            ),
        ),
    ),
    "get_health": _HEALTH,
    "get_health_ml": HealthML(
        status="ok",
        models=(LoadedModel("sentiment", "3", _DIGEST, "onnx", "single_label", "int8", 23_456_789, champion=True),),
        workers=2,
        queue_depth=0,
        events_waiting=0,
        events_in_journal=0,
        events_dropped=0,
        database="ok",
        drift="none",
    ),
    "post_personalize": Personalization(
        ranking=(RankedProduct("tent", 0.61, 1), RankedProduct("pan", 0.12, 2)),
        inference_id="187a2f0c5d3e4b12c0ffee00d15ea5e5",
        model="encoder",
        model_version="1",
        digest=_ENCODER_DIGEST,
        framework="onnx",
        latency_ms=9.7,
    ),
    "post_features_entity": _FEATURES,
    "get_features_entity": _FEATURES,
    "post_model_upload": _UPLOADED,
    "get_model_model_id_versions": ModelVersions("encoder", (_UPLOADED,)),
    "get_model_model_id_version": _UPLOADED,
    "post_model_model_id_version_stage": msgspec.structs.replace(_UPLOADED, stage="production"),
    "post_vertex_predict": VertexPredictions((_GOOD, _BAD)),
    "get_vertex_health": _HEALTH,
    "get_v2": ServerMetadata("tunelane", "0.1.0"),
    "get_v2_health_live": Live(live=True),
    "get_v2_health_ready": Ready(ready=True, live=True),
    "get_v2_models_model_name_ready": ModelReady("sentiment", ready=True),
    "get_v2_models_model_name_versions_model_version_ready": ModelReady("encoder", ready=True),
    "post_v2_models_model_name_infer": _INFERRED,
    "post_v2_models_model_name_versions_model_version_infer": _EMBEDDED,
    "get_v2_models_model_name": ModelMetadata(
        name="sentiment",
        versions=("3",),
        platform="onnx_onnxv1",
        inputs=_TEXT_INPUT,
        outputs=(TensorMetadata("label", "BYTES", (-1,)), TensorMetadata("scores", "FP32", (-1, 2))),
    ),
    "get_v2_models_model_name_versions_model_version": ModelMetadata(
        name="encoder",
        versions=("1",),
        platform="onnx_onnxv1",
        inputs=_TEXT_INPUT,
        outputs=(TensorMetadata("embedding", "FP32", (-1, -1)),),
    ),
}
