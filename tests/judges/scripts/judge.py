"""What every judge does: read the order, try each case with warnings on record, print the verdicts."""

import json
import sys
import traceback
import warnings


def run(doors):
    """Run each case through the door it names; a door is `f(order, case) -> verdict`."""
    order = json.load(sys.stdin)
    verdicts = {}
    for case in order["cases"]:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            try:
                verdict = doors[case["door"]](order, case)
            except Exception as error:
                verdict = {
                    "error": getattr(error, "status_code", None) or getattr(error, "code", None),
                    "classes": [kind.__name__ for kind in type(error).__mro__],
                    "message": str(error)[:2000],
                    "trace": traceback.format_exc()[-3000:],
                }
        theirs = [f"{w.category.__name__}: {w.message}" for w in heard if not issubclass(w.category, ResourceWarning)]
        verdicts[case["name"]] = {**verdict, "warnings": theirs}
    print(json.dumps(verdicts))


def fault_header(case):
    """The header that has the simulator fail."""
    return {"x-sim-fault": case["fault"]} if case.get("fault") else {}
