"""Shapes of models that people know."""

from models.settings import Shape

__all__ = ["SHAPE_8B", "SHAPE_72B"]

SHAPE_8B = Shape(
    layers=32,
    embedding=4096,
    heads=32,
    kv_heads=8,
    feed_forward=14336,
    vocabulary=128256,
    parameters=8_030_261_248,
    context=131072,
)
SHAPE_72B = Shape(
    layers=80,
    embedding=8192,
    heads=64,
    kv_heads=8,
    feed_forward=29568,
    vocabulary=152064,
    parameters=72_706_203_648,
    context=32768,
)
