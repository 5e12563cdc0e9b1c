#!/usr/bin/env python3
"""A person tries models on the page of `kiln serve`, in headless Chromium: types a text, drops an image, has a text continued, gives a
token. What the page shows must be what the server answers. Speaks the DevTools protocol through `websocket-client`.
Usage: python3 tests/serve_page.py [--kiln BINARY] [--chromium /usr/bin/chromium]
"""
import itertools
import json
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import websocket

import harness
import serving

TOKEN = "0123456789abcdef0123456789abcdef"


class Browser:
    """One tab."""

    def __init__(self, chromium, scratch):
        profile = Path(scratch) / "profile"
        command = [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        port = profile / "DevToolsActivePort"
        self.until(lambda: port.exists() and port.read_text().strip(), "chromium's port")
        tabs = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port.read_text().splitlines()[0]}/json"))
        tab = next(tab for tab in tabs if tab["type"] == "page")
        self.socket = websocket.create_connection(tab["webSocketDebuggerUrl"], suppress_origin=True, timeout=60)
        self.ids, self.complaints = itertools.count(1), []
        self.call("Runtime.enable")
        self.call("Log.enable")

    def until(self, true, what):
        began = time.monotonic()
        while not true():
            assert time.monotonic() - began < 60, f"waited for {what}; {getattr(self, 'complaints', '')}"
            time.sleep(0.05)

    def call(self, method, **params):
        number = next(self.ids)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.complaints.append(message["params"])
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]

    def js(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def open(self, url):
        self.call("Page.navigate", url=url)
        self.until(lambda: self.js("document.querySelectorAll('#model option').length || document.querySelector('#locked')?.hidden === false"), "the page's models")

    def choose(self, model):
        self.js(f"{{ const m = document.querySelector('#model'); m.selectedIndex = [...m.options].findIndex(o => o.textContent.startsWith('{model} '));"
                " m.dispatchEvent(new Event('change')); }")

    def ask(self):
        self.js("document.querySelector('#form').requestSubmit()")

    def shown(self):
        """The label and the bars: {name: per cent}."""
        self.until(lambda: self.js("!!document.querySelector('#label') && !document.querySelector('#ask').disabled"), "an answer")
        rows = self.js("[...document.querySelectorAll('.row')].map(r => [...r.querySelectorAll('span')].map(s => s.textContent))")
        return self.js("document.querySelector('#label').textContent"), {name: float(share.split()[0]) for name, share in rows}

    def close(self):
        self.socket.close()
        self.process.kill()
        self.process.wait()


def check(what, shown, prediction):
    label, bars = shown
    assert label == prediction["label"], (what, shown, prediction)
    top = dict(sorted(prediction["probabilities"].items(), key=lambda one: -one[1])[:10])
    assert set(bars) == set(top) or len(prediction["probabilities"]) > 10, (what, bars, top)
    assert all(abs(bars[name] - 100 * p) < 0.011 for name, p in top.items() if name in bars), (what, bars, top)
    print(f"{what}: the page shows {label!r}, {max(bars.values()):.2f} %, as the server answers")


def main():
    args = harness.arguments(__doc__, chromium=("/usr/bin/chromium", "the browser"))
    with tempfile.TemporaryDirectory() as scratch:
        text = serving.trained(args.kiln, harness.texts(scratch), scratch, "train.epochs=1", "evaluate.every=1 epoch")
        image = serving.trained(args.kiln, harness.digits(scratch), scratch, "train.epochs=1")
        prose = serving.trained(args.kiln, serving.prose(scratch), scratch)
        picture = serving.digit_images(scratch, 1)[0]
        tokens = Path(scratch) / "tokens"
        tokens.write_text(TOKEN + "\n")

        def answer(server, model, body, kind):
            headers = {"content-type": kind, "authorization": f"Bearer {TOKEN}"}
            request = urllib.request.Request(f"http://{server.address}/v1/models/{model}/predict", body, headers)
            return json.load(urllib.request.urlopen(request))["predictions"][0]

        browser = Browser(args.chromium, scratch)
        try:
            with serving.Served(args.kiln, f"text={text}", f"image={image}", f"prose={prose}", "--token-file", tokens) as server:
                browser.open(f"http://{server.address}/")
                assert browser.js("document.querySelector('#error').textContent").startswith("expected a header"), "no word of the token"
                browser.js(f"{{ const t = document.querySelector('#token'); t.value = '{TOKEN}'; t.form.requestSubmit(); }}")
                browser.until(lambda: browser.js("document.querySelectorAll('#model option').length") == 3, "the models behind the token")
                expected = [complaint for complaint in browser.complaints if complaint.get("entry", {}).get("source") == "network"]
                assert browser.complaints == expected, browser.complaints
                browser.complaints.clear()

                browser.choose("text")
                browser.js("document.querySelector('#field-text').value = 'the good <b>film</b>'")
                browser.ask()
                check("a text", browser.shown(), answer(server, "text", "the good <b>film</b>".encode(), "text/plain"))

                browser.choose("image")
                node = browser.call("DOM.getDocument")["root"]["nodeId"]
                found = browser.call("DOM.querySelector", nodeId=node, selector="#file")["nodeId"]
                browser.call("DOM.setFileInputFiles", files=[str(picture)], nodeId=found)
                expected = answer(server, "image", picture.read_bytes(), "image/png")
                check("a chosen image", browser.shown(), expected)

                browser.choose("image")
                octets = list(picture.read_bytes())
                browser.js("{ const d = new DataTransfer(); d.items.add(new File([new Uint8Array(%s)], 'a.png', {type: 'image/png'}));"
                           " document.querySelector('#drop').dispatchEvent(new DragEvent('drop', {dataTransfer: d, bubbles: true, cancelable: true})); }" % octets)
                check("a dropped image", browser.shown(), expected)

                browser.choose("image")
                browser.js("{ const d = new DataTransfer(); d.items.add(new File(['no image'], 'a.txt', {type: 'text/plain'}));"
                           " document.querySelector('#drop').dispatchEvent(new DragEvent('drop', {dataTransfer: d, bubbles: true, cancelable: true})); }")
                browser.until(lambda: browser.js("document.querySelector('#error').textContent"), "a refusal")
                said = browser.js("document.querySelector('#error').textContent")
                assert "expected" in said, said
                print(f"no image: the page says {said!r}")

                browser.choose("prose")
                browser.js("{ const set = (n, v) => document.querySelector('#field-' + n).value = v; set('text', 'to be'); set('max_new_tokens', 40); set('temperature', 0); }")
                browser.ask()
                browser.until(lambda: browser.js("document.querySelector('#finish')?.textContent"), "the end of a text")
                expected = answer(server, "prose", json.dumps({"text": "to be", "max_new_tokens": 40, "temperature": 0}).encode(), "application/json")
                shown = browser.js("document.querySelector('#continued').textContent"), browser.js("document.querySelector('#finish').textContent")
                assert shown == (expected["text"], f"40 tokens, ended by {expected['finish_reason']}"), (shown, expected)
                print(f"a text is continued: the page shows {shown[0]!r}, as the server answers")
                exceptions = [c for c in browser.complaints if "exceptionDetails" in c or c.get("entry", {}).get("source") not in ("network", None)]
                assert not exceptions, exceptions
        finally:
            browser.close()


main()
