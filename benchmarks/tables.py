"""Put the tables of benchmarks/results/*.json into README.md, between their markers.

python benchmarks/tables.py [--check]        --check changes nothing and fails where README and results differ
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

import ablation
import attribution
import calibration
import constrained
import evaluation
import harmonisation
import prediction
import privacy_price
import real_cohorts
import samples
import scale
import simulated
import topology

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
SUMMARIES = {
    "ablation": ablation.summary,
    "attribution": attribution.summary,
    "calibration": calibration.summary,
    "constrained": constrained.summary,
    "evaluation": evaluation.summary,
    "harmonisation": harmonisation.summary,
    "prediction": prediction.summary,
    "privacy_price": privacy_price.markdown,
    "real_cohorts": real_cohorts.summary,
    "samples": samples.summary,
    "scale": scale.summary,
    "simulated": simulated.summary,
    "topology": topology.summary,
}


def main() -> None:
    """Rewrite README.md, or compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    text = README.read_text(encoding="utf-8")
    updated = with_tables(text)
    if options.check and updated != text:
        sys.exit("README.md's tables are not those of benchmarks/results; run python benchmarks/tables.py")
    README.write_text(updated, encoding="utf-8")


def with_tables(text: str) -> str:
    """The text with each block between <!-- table: NAME --> and <!-- end --> made anew from results/NAME.json."""

    def fill(match: re.Match[str]) -> str:
        name = match["name"]
        record = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))
        machine = record["machine"]
        facts = (
            f"Measured {machine['date']} on {machine['cores']} cores ({machine['processor']}), Python {machine['python']}, "
            f"torch {machine['torch']}."
        )
        return f"<!-- table: {name} -->\n{SUMMARIES[name](record)}\n\n{facts}\n<!-- end -->"

    return re.sub(r"<!-- table: (?P<name>\w+) -->\n.*?<!-- end -->", fill, text, flags=re.DOTALL)


if __name__ == "__main__":
    main()
