"""Which phenotype matters for connectomes, in which region."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "Attribution": "result",
    "Contrast": "result",
    "EdgeMaps": "maps",
    "EffectMap": "effects",
    "IntegratedGradients": "gradients",
    "MapComparison": "map_comparison",
    "MeanPath": "mean_path",
    "PhenotypeMaps": "phenotype_maps",
    "RegionGradients": "region_gradients",
    "attribute": "attributing",
    "compare_maps": "map_comparison",
    "effect_map": "effects",
    "enrichment": "system_enrichment",
    "integrated_gradients": "gradients",
    "mean_weight": "gradients",
    "region_strength": "gradients",
    "regional_gradients": "region_gradients",
    "spin_orders": "spatial_nulls",
    "trajectory": "trajectories",
    "variogram_surrogates": "spatial_nulls",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
