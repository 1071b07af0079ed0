"""Take docs/images/dashboard.png: let the demonstration's gateway run, break a provider, and photograph its page.

python docs/images/make_dashboard_picture.py [SECONDS]
"""  # noqa: INP001 - a script beside the picture that it takes

import base64
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tests" / "e2e"))

from browser import Browser, browser_path
from dashboard_rig import Page

PICTURE = pathlib.Path(__file__).with_name("dashboard.png")
SERVE = (
    "import sys; from spillway.cli.demo_serve import serve, check_port; sys.exit(serve(check_port(0), lambda *_: None))"
)
WIDTH, HEIGHT = 1280, 1240


def main(seconds: float) -> None:
    """Run, break, photograph."""
    demo = subprocess.Popen([sys.executable, "-c", SERVE], stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own
    home = tempfile.mkdtemp()
    browser = Browser(browser_path(), home)
    try:
        page = next(line.split()[1] for line in demo.stdout or [])
        url = page.removesuffix("/dashboard")

        def have(action: str) -> None:
            body = json.dumps({"provider": "openai", "action": action}).encode()
            asked = urllib.request.Request(f"{url}/admin/demo", body, {"content-type": "application/json"})  # noqa: S310 - loopback
            urllib.request.urlopen(asked).close()  # noqa: S310 - loopback

        for share, action in ((0.45, "break"), (0.1, "mend"), (0.35, "break"), (0.1, "break")):
            time.sleep(seconds * share)  # noqa: TID251 - real time is what it shows
            have(action)
        tab = Page(browser, page, width=WIDTH, height=HEIGHT).live()
        tab.ask("document.getElementById('where').textContent = '127.0.0.1:8080'")
        tab.call("Emulation.setScrollbarsHidden", hidden=True)
        time.sleep(2)  # noqa: TID251 - see above
        PICTURE.write_bytes(base64.b64decode(tab.call("Page.captureScreenshot", format="png")["data"]))
    finally:
        browser.close()
        demo.terminate()
        demo.wait(30)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 600.0)
