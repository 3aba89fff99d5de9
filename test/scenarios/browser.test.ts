/** The gateway as seen by pages of other origins in a real browser. */
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { hasBrowser, openBrowser, startPage } from "../support/browser.ts";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway } from "../support/gateway.ts";
import { bodyOf, startUpstream } from "../support/upstream.ts";
import { startWebSocketEcho } from "../support/websocket-echo.ts";

/** The parts of RequestInit that can be passed into a page. */
interface Init {
  readonly method?: string;
  readonly headers?: Record<string, string>;
  readonly body?: string;
  readonly mode?: "no-cors";
  readonly credentials?: "include";
}

/** Runs in the page; resolves to what a script there can see of a response. */
const ask = async ({ url, init = {} }: { url: string; init?: Init }) => {
  try {
    const response = await fetch(url, init);
    return { status: response.status, text: await response.text(), headers: Object.fromEntries(response.headers) };
  } catch (error) {
    return { failed: String(error) };
  }
};

describe.skipIf(!hasBrowser)("page in a browser", () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await openBrowser();
  });
  afterAll(() => browser?.close());

  /** A listed and an unlisted origin for one gateway. */
  async function start(env: Record<string, string> = {}) {
    const listed = await startPage();
    const foreign = await startPage();
    const echo = await startWebSocketEcho();
    const upstream = await startUpstream(async (req, res) => {
      if (req.url === "/events") {
        res.writeHead(200, { "content-type": "text/event-stream", "access-control-allow-origin": "*" });
        for (const data of ["one", "two"]) res.write(`data: ${data}\n\n`);
        return;
      }
      res.setHeader("access-control-allow-origin", "https://somewhere.else");
      res.setHeader("x-hidden", "1");
      res.end(`${req.method} ${await bodyOf(req)}`);
    });
    const gateway = await startGateway({
      env: { PROXY_API_KEY: PROXY_KEY, CORS_ORIGINS: listed, ...env },
      services: { api: { baseUrl: upstream.url }, ws: { baseUrl: echo.url, ws: true } },
    });
    const open = async (origin: string) => {
      const page = await browser.newPage();
      await page.goto(origin);
      return page;
    };
    return { listed, foreign, upstream, echo, gateway, open };
  }

  test("A page of a listed origin reads simple and preflighted responses, with the gateway's headers", async () => {
    const { listed, gateway, upstream, open } = await start();
    const page = await open(listed);
    const simple = await page.evaluate(ask, { url: `${gateway.url}/proxy/api/x?api_key=${PROXY_KEY}` });
    expect(simple).toMatchObject({ status: 200, text: "GET " });
    expect(simple.headers?.["x-proxy-request-id"]).toEqual(expect.any(String));
    expect(simple.headers).not.toHaveProperty("x-hidden");
    const preflighted = await page.evaluate(ask, {
      url: `${gateway.url}/proxy/api/x`,
      init: { method: "PUT", headers: { "x-api-key": PROXY_KEY, "content-type": "application/json" }, body: "{}" },
    });
    expect(preflighted).toMatchObject({ status: 200, text: "PUT {}" });
    expect(upstream.requests.map(({ method }) => method)).toEqual(["GET", "PUT"]);
    await page.close();
  });

  test("A page of a listed origin reads refusals of both planes, and of a preflighted request", async () => {
    const { listed, gateway, open } = await start({ MANAGEMENT_API_KEY: MANAGEMENT_KEY });
    const page = await open(listed);
    for (const path of ["/proxy/api/x", "/proxy/services", "/manage/x", "/proxy/nope"]) {
      const response = await page.evaluate(ask, {
        url: gateway.url + path,
        init: { headers: { "x-api-key": "wrong-key-0123456789" } },
      });
      expect([path, response.status]).toEqual([path, 401]);
      expect(JSON.parse(response.text as string).code).toBe(response.headers?.["x-proxy-error"]);
    }
    await page.close();
  });

  test("A page of another origin can neither read a response nor send a request that needs a preflight", async () => {
    const { foreign, gateway, upstream, open } = await start();
    const page = await open(foreign);
    const simple = await page.evaluate(ask, { url: `${gateway.url}/proxy/api/x?api_key=${PROXY_KEY}` });
    expect(simple).toEqual({ failed: expect.stringContaining("Failed to fetch") });
    const before = upstream.requests.length;
    const init = { method: "DELETE", headers: { "x-api-key": PROXY_KEY } };
    expect(await page.evaluate(ask, { url: `${gateway.url}/proxy/api/x`, init: init })).toHaveProperty("failed");
    expect(upstream.requests).toHaveLength(before);
    await page.close();
  });

  test("A page of another origin cannot reach an open plane: not by fetch, image or WebSocket", async () => {
    const { foreign, gateway, upstream, echo, open } = await start({ PROXY_API_KEY: "" });
    const page = await open(foreign);
    const modes: Init[] = [{}, { mode: "no-cors" }, { mode: "no-cors", method: "POST", body: "x" }];
    for (const init of modes) await page.evaluate(ask, { url: `${gateway.url}/proxy/api/x`, init: init });
    await page.setContent(`<img src="${gateway.url}/proxy/api/image">`, { waitUntil: "load" });
    const socket = await page.evaluate(
      async (url) => {
        const socket = new WebSocket(url);
        return new Promise((resolve) => {
          socket.onopen = () => resolve("open");
          socket.onerror = () => resolve("refused");
        });
      },
      `${gateway.url.replace("http", "ws")}/proxy/ws/`,
    );
    expect(socket).toBe("refused");
    expect(upstream.requests).toEqual([]);
    expect(echo.requests).toEqual([]);
    await page.close();
  });

  test("A page of another origin cannot reach an open plane under a plain HTTP name, where browsers send no Sec-Fetch-Site", async () => {
    const env = { PROXY_API_KEY: "", ALLOWED_HOSTS: "gateway.test,localhost,127.0.0.1" };
    const { listed, foreign, gateway, upstream, open } = await start(env);
    const url = `http://gateway.test:${gateway.port}/proxy/api/x`;
    const page = await open(foreign);
    for (const init of [{}, { mode: "no-cors" }] as Init[]) await page.evaluate(ask, { url, init });
    await page.setContent(`<img src="${url}"><script src="${url}"></script><iframe src="${url}"></iframe>`);
    await page.goto(url);
    expect(await page.textContent("body")).toContain("PROXY_API_KEY");
    expect(upstream.requests).toEqual([]);
    await page.close();
    const allowed = await open(listed);
    expect(await allowed.evaluate(ask, { url })).toMatchObject({ status: 200 });
    await allowed.close();
  });

  test("A page of another origin that guesses keys locks out no program on this machine", async () => {
    const { foreign, gateway, open } = await start({ MANAGEMENT_API_KEY: MANAGEMENT_KEY });
    const page = await open(foreign);
    for (const host of ["127.0.0.1", "localhost", "gateway.test"]) {
      const images = Array.from(
        { length: 12 },
        (_, i) => `<img src="http://${host}:${gateway.port}/proxy/api/x?api_key=guessed-by-a-page-${i}">`,
      );
      await page.setContent(images.join(""), { waitUntil: "load" });
    }
    const outcomes = gateway.exchanges().map(({ outcome }) => outcome);
    expect(outcomes).toContain("refused:TOO_MANY_AUTH_FAILURES");
    const headers = { authorization: `Bearer ${MANAGEMENT_KEY}` };
    expect((await fetch(`${gateway.url}/manage/services`, { headers })).status).toBe(200);
    expect((await fetch(`${gateway.url}/proxy/api/x`, { headers: { "x-api-key": PROXY_KEY } })).status).toBe(200);
    await page.close();
  });

  test("A key in the URL of an upstream's page reaches no other host, whatever the upstream sends", async () => {
    const other = await startUpstream(async (req, res) => {
      seen.push(`${req.url} ${JSON.stringify(req.headers)} ${await bodyOf(req)}`);
      res.setHeader("access-control-allow-origin", "*").end();
    });
    const seen: string[] = [];
    const links = ["preload; as=image", "prefetch"].map(
      (rel) => `<${other.url}/l>; rel=${rel}; referrerpolicy=unsafe-url`,
    );
    const image = `<img src="${other.url}/i" referrerpolicy="unsafe-url">`;
    const pages: Record<string, [headers: Record<string, string>, html: string]> = {
      "/report": [{ "content-security-policy": `img-src 'none'; report-uri ${other.url}/r` }, image],
      "/report-only": [{ "content-security-policy-report-only": `img-src 'none'; report-uri ${other.url}/r` }, image],
      "/referrer": [{ "referrer-policy": "unsafe-url" }, image],
      "/refresh": [
        { "referrer-policy": "unsafe-url", refresh: `0;url=${other.url}/f`, "content-type": "text/plain" },
        "",
      ],
      "/links": [{ link: links.join(), "content-type": "text/plain" }, ""],
    };
    const upstream = await startUpstream((req, res) => {
      const [headers, html] = pages[req.url as string] ?? [{}, ""];
      res.writeHead(200, { "content-type": "text/html", ...headers });
      res.end(html);
    });
    const gateway = await startGateway({
      env: { PROXY_API_KEY: PROXY_KEY },
      services: { evil: { baseUrl: upstream.url }, plain: { baseUrl: upstream.url, webContent: "pass" } },
    });
    for (const [service, isShown] of [
      ["plain", true],
      ["evil", false],
    ] as const) {
      for (const path of Object.keys(pages)) {
        seen.length = 0;
        const page = await browser.newPage();
        await page.goto(`${gateway.url}/proxy/${service}${path}?api_key=${PROXY_KEY}`, { waitUntil: "networkidle" });
        const shows = () => seen.some((text) => text.includes(PROXY_KEY));
        if (isShown && path !== "/referrer") await eventually(shows, `${path} to show the key, without isolation`);
        else if (!isShown) expect([path, shows()]).toEqual([path, false]);
        await page.close();
      }
    }
  }, 60_000);

  test("A cookie of one service reaches no other, whatever path the upstream gives it", async () => {
    const cookies = [
      `a=1; Path=/${"x".repeat(1_100)}`,
      "b=1; Path=/",
      "=__Host-c=1; Path=/",
      "d=1; Domain=127.0.0.1; Path=/proxy/",
    ];
    const upstream = await startUpstream((_, res) => res.setHeader("set-cookie", cookies).end());
    const victim = await startUpstream();
    const gateway = await startGateway({
      services: { evil: { baseUrl: upstream.url, cookies: true }, victim: { baseUrl: victim.url, cookies: true } },
    });
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(`${gateway.url}/proxy/evil`);
    await page.goto(`${gateway.url}/proxy/victim/x`);
    expect(victim.requests.map(({ url, headers }) => [url, headers.cookie])).toContainEqual(["/x", undefined]);
    expect((await context.cookies()).map(({ name, path }) => `${name} ${path}`).sort()).toEqual([
      "a /proxy/evil/",
      "b /proxy/evil/",
      "d /proxy/evil/proxy/",
    ]);
    await context.close();
  });

  test("A page may send credentials only where they are allowed", async () => {
    for (const [CORS_CREDENTIALS, isRead] of [
      ["true", true],
      ["false", false],
    ] as const) {
      const { listed, gateway, open } = await start({ CORS_CREDENTIALS });
      const page = await open(listed);
      const init: Init = { credentials: "include", headers: { "x-api-key": PROXY_KEY } };
      const response = await page.evaluate(ask, { url: `${gateway.url}/proxy/api/x`, init: init });
      expect("status" in response).toBe(isRead);
      await page.close();
    }
  });

  test("A page reads events by EventSource as they arrive", async () => {
    const { listed, gateway, open } = await start();
    const page = await open(listed);
    const events = await page.evaluate(async (url) => {
      const source = new EventSource(url);
      const seen: string[] = [];
      await new Promise<void>((resolve, reject) => {
        source.onmessage = ({ data }) => {
          seen.push(data);
          if (seen.length === 2) resolve();
        };
        source.onerror = () => reject(new Error("the stream failed"));
      });
      source.close();
      return seen;
    }, `${gateway.url}/proxy/api/events?api_key=${PROXY_KEY}`);
    expect(events).toEqual(["one", "two"]);
    await page.close();
  });

  test("A page sends 1 MB through a WebSocket and receives it back", async () => {
    const { listed, gateway, echo, open } = await start();
    const page = await open(listed);
    const result = await page.evaluate(
      async (url) => {
        const socket = new WebSocket(url, ["v1"]);
        socket.binaryType = "arraybuffer";
        const sent = crypto.getRandomValues(new Uint8Array(65_536));
        const message = new Uint8Array(1_048_576);
        for (let at = 0; at < message.length; at += sent.length) message.set(sent, at);
        await new Promise((resolve, reject) => {
          socket.onopen = resolve;
          socket.onerror = () => reject(new Error("it did not open"));
        });
        const response = new Promise<ArrayBuffer>((resolve) => {
          socket.onmessage = ({ data }) => resolve(data);
        });
        socket.send(message);
        const received = new Uint8Array(await response);
        const closed = new Promise<number>((resolve) => {
          socket.onclose = ({ code }) => resolve(code);
        });
        socket.close(1000);
        return {
          same: received.length === message.length && received.every((byte, i) => byte === message[i]),
          code: await closed,
          protocol: socket.protocol,
        };
      },
      `${gateway.url.replace("http", "ws")}/proxy/ws/?api_key=${PROXY_KEY}`,
    );
    expect(result).toEqual({ same: true, code: 1000, protocol: "v1" });
    expect(echo.requests[0]?.url).toBe("/");
    await page.close();
  });

  test("A page of an upstream runs no script, and even with scripts it has no part in the gateway's origin", async () => {
    const script = `<script>document.title = "ran"; localStorage.setItem("a", "b")</script>`;
    const upstream = await startUpstream((req, res) => {
      const isWorker = req.url?.endsWith(".js") ?? false;
      res
        .setHeader("Service-Worker-Allowed", "/")
        .setHeader("Content-Type", isWorker ? "text/javascript" : "text/html");
      if (req.url === "/framing") res.end(`<title>still</title><iframe src="/docs"></iframe>`);
      else res.end(isWorker ? "" : `<title>still</title>${script}`);
    });
    const gateway = await startGateway({ services: { evil: { baseUrl: upstream.url } } });
    const page = await browser.newPage();
    await page.goto(`${gateway.url}/proxy/evil/page`);
    expect(await page.title()).toBe("still");
    // The tools of the browser run what the page may not, with the page's origin.
    // As text, because the sources of the tests are not compiled for browsers.
    const found = await page.evaluate(`(async () => {
      const attempt = (run) => Promise.resolve().then(run).then(() => "done", () => "refused");
      return {
        origin: window.origin,
        storage: await attempt(() => localStorage.length),
        docs: await attempt(() => fetch("/docs").then((response) => response.text())),
        worker: await attempt(() => navigator.serviceWorker.register("/proxy/evil/w.js", { scope: "/" })),
      };
    })()`);
    expect(found).toEqual({ origin: "null", storage: "refused", docs: "refused", worker: "refused" });
    await page.goto(`${gateway.url}/proxy/evil/framing`);
    for (const frame of page.frames().slice(1)) expect(await frame.locator("#reference").count()).toBe(0);
    await page.close();
  });
});
