/**
 * Counts the source files and function calls that one warm, authenticated GET passes through, with V8's precise coverage.
 * `forward/transport/` is not counted: it is a client of its own. Run by `npm run request-path`; `-- --list` names the files.
 */
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { type AddressInfo, createConnection } from "node:net";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { WebSocket } from "ws";
import { createProcesses, freePort } from "./processes.ts";

/** Made up for this measurement: loopback only, never a real key. */
const API_KEY = "path-proxy-key-0123456789abcdef";
const WARM_UP = 300;
const SAMPLES = 15;
const START_MS = 20_000;

interface FunctionCoverage {
  readonly functionName: string;
  readonly ranges: readonly { readonly count: number }[];
}

interface ScriptCoverage {
  readonly url: string;
  readonly functions: readonly FunctionCoverage[];
}

/** The functions that one request called, by file. */
type Calls = ReadonlyMap<string, readonly FunctionCoverage[]>;

const root = resolve(import.meta.dirname, "..");
const dist = pathToFileURL(join(root, "dist/")).href;
const processes = createProcesses();
const upstream = createServer((_req, res) => res.end('{"ok":true}')).listen(0, "127.0.0.1");
await once(upstream, "listening");
const port = await freePort();
const gateway = startGateway();
try {
  const send = await openInspector(gateway);
  await untilHealthy();
  const get = await openClient();
  for (let i = 0; i < WARM_UP; i++) await get();
  await send("Profiler.enable");
  await send("Profiler.startPreciseCoverage", { callCount: true, detailed: false });
  const samples: Calls[] = [];
  for (let i = 0; i < SAMPLES; i++) {
    await send("Profiler.takePreciseCoverage");
    await get();
    const { result } = (await send("Profiler.takePreciseCoverage")) as { result: readonly ScriptCoverage[] };
    samples.push(callsOf(result));
  }
  report(samples);
} finally {
  await processes.close();
}
process.exit();

function startGateway() {
  const { port: upstreamPort } = upstream.address() as AddressInfo;
  const services = {
    origin: { baseUrl: `http://127.0.0.1:${upstreamPort}`, auth: { type: "bearer", tokenEnvVar: "PATH_ORIGIN_TOKEN" } },
  };
  const file = join(processes.folder, "services.json");
  writeFileSync(file, JSON.stringify({ services }));
  return processes.start(["--inspect=127.0.0.1:0", join(root, "dist", "main.js")], {
    cwd: processes.folder,
    env: {
      PATH: process.env.PATH,
      PORT: String(port),
      HOST: "127.0.0.1",
      PROXY_API_KEY: API_KEY,
      PATH_ORIGIN_TOKEN: "path-origin-token-fedcba9876543210",
      CONFIG_FILE: file,
      DATA_DIR: join(processes.folder, "data"),
      LOG_FORMAT: "json",
      // Otherwise a sample of the load could be counted as part of a request.
      PRESSURE_SAMPLE_INTERVAL: "600000",
    },
    stdio: ["ignore", "ignore", "pipe"],
  });
}

/** Connects to the gateway's inspector; Node prints its URL to stderr. Resolves to a function that sends one command. */
async function openInspector({ stderr }: ReturnType<typeof startGateway>) {
  const lines = createInterface({ input: stderr as NodeJS.ReadableStream });
  const url = await new Promise<string>((found) => {
    lines.on("line", (line) => {
      const match = /ws:\/\/\S+/.exec(line);
      if (match !== null) found(match[0]);
    });
  });
  const socket = new WebSocket(url, { perMessageDeflate: false, maxPayload: 0 });
  await once(socket, "open");
  let lastId = 0;
  const pending = new Map<number, (result: unknown) => void>();
  socket.on("message", (text) => {
    const { id, result } = JSON.parse(String(text)) as { id?: number; result: unknown };
    if (id !== undefined) pending.get(id)?.(result);
  });
  return (method: string, params: object = {}) =>
    new Promise<unknown>((done) => {
      pending.set(++lastId, done);
      socket.send(JSON.stringify({ id: lastId, method, params }));
    });
}

/** One kept-alive client connection. Resolves to a function that performs one GET and fails unless the response is a 200. */
async function openClient() {
  const socket = createConnection(port, "127.0.0.1");
  await once(socket, "connect");
  const head = `GET /proxy/origin/x HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nAuthorization: Bearer ${API_KEY}\r\nUser-Agent: path\r\n\r\n`;
  return () =>
    new Promise<void>((done, fail) => {
      let text = "";
      socket.on("data", function onData(chunk: Buffer) {
        text += chunk.toString("latin1");
        if (!text.endsWith('{"ok":true}') && !text.endsWith("\r\n0\r\n\r\n")) return;
        socket.off("data", onData);
        if (!text.startsWith("HTTP/1.1 200 ")) return fail(new Error(text));
        // The exchange is recorded in a later turn of the gateway's event loop.
        setTimeout(done, 20);
      });
      socket.write(head);
    });
}

function callsOf(scripts: readonly ScriptCoverage[]): Calls {
  const calls = new Map<string, readonly FunctionCoverage[]>();
  for (const { url, functions } of scripts) {
    if (!url.startsWith(dist)) continue;
    const file = url.slice(dist.length);
    if (file.startsWith("data-plane/forward/transport/")) continue;
    const called = functions.filter((each) => countOf(each) > 0);
    if (called.length > 0) calls.set(file, called);
  }
  return calls;
}

function countOf({ ranges }: FunctionCoverage): number {
  return ranges[0]?.count ?? 0;
}

function total(functions: readonly FunctionCoverage[]): number {
  return functions.reduce((sum, each) => sum + countOf(each), 0);
}

/** Prints the sample with the fewest calls: the others hold a timer that fired during the request. */
function report(samples: readonly Calls[]): void {
  const least = samples.reduce((best, calls) => (callsIn(calls) < callsIn(best) ? calls : best));
  if (process.argv.includes("--list")) {
    for (const [file, functions] of [...least].sort(([, a], [, b]) => total(b) - total(a))) {
      const names = functions.map((each) => `${each.functionName || "(anonymous)"} ${countOf(each)}`);
      console.log(`${String(total(functions)).padStart(4)}  ${file}: ${names.join(", ")}`);
    }
  }
  console.log(
    `A warm authenticated GET passes through ${least.size} source files and ${callsIn(least)} function calls.`,
  );
}

function callsIn(calls: Calls): number {
  return [...calls.values()].reduce((sum, functions) => sum + total(functions), 0);
}

async function untilHealthy(): Promise<void> {
  const deadline = performance.now() + START_MS;
  while (performance.now() < deadline) {
    const response = await fetch(`http://127.0.0.1:${port}/health`).catch(() => undefined);
    if (response?.ok) return;
    await new Promise((done) => setTimeout(done, 20));
  }
  throw new Error(`The gateway was not healthy within ${START_MS} ms.`);
}
