/**
 * Runs the public tests for HTTP caches (https://cache-tests.fyi, npm package `http-cache-tests`) against a gateway with a cache, and
 * compares the results with those of nginx and Varnish that the package contains.
 *
 * The package is no dependency: `npx tsx bench/cache-tests.ts` installs it in a temporary folder; with a folder as argument, it is
 * used from there. `--json <file>` writes all results.
 *
 * The tests number their requests in a header, which would be a part of the gateway's keys. Here the number travels in X-Request-Id.
 */
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { loadConfig } from "../src/config/load-config.ts";
import { openGateway } from "../src/gateway.ts";

type Result = true | readonly [kind: string, message: string];
type Results = Readonly<Record<string, Result>>;

interface CacheTest {
  readonly id: string;
  readonly name: string;
  readonly kind?: "required" | "optimal" | "check";
  readonly browser_only?: boolean;
  readonly depends_on?: readonly string[];
}

interface Suite {
  readonly name: string;
  readonly tests: readonly CacheTest[];
}

type Fetch = (url: string, init?: { headers?: [string, string][] }) => Promise<unknown>;

const folders: string[] = [];
const installed = process.argv
  .slice(2)
  .find((argument, at, all) => !argument.startsWith("--") && all[at - 1] !== "--json");
const root = join(installed === undefined ? install() : resolve(installed), "node_modules", "http-cache-tests");
const load = (file: string) => import(pathToFileURL(join(root, file)).href);

const suites = (await load("tests/index.mjs")).default as Suite[];
const server = await startServer();
const gateway = await startGateway(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
// The server of the package reports each odd request on the console.
const log = console.log;
console.log = () => {};
try {
  const { runTests, getResults } = await load("client/runner.mjs");
  const nodeFetch = (await import(pathToFileURL(join(root, "../node-fetch/lib/index.mjs")).href)).default as Fetch;
  await runTests(suites, numberedBy(nodeFetch), false, `${gateway.url}/proxy/cached`);
  console.log = log;
  report(getResults() as Results);
} finally {
  await gateway.close();
  server.closeAllConnections();
  server.close();
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
}

function install(): string {
  const folder = temporaryFolder();
  execFileSync("npm", [
    "install",
    "--prefix",
    folder,
    "--ignore-scripts",
    "--no-audit",
    "--no-fund",
    "http-cache-tests@0.4.5",
  ]);
  return folder;
}

function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "byteproxy-cache-tests-"));
  folders.push(folder);
  return folder;
}

async function startServer() {
  const handlers = new Map<string, (segments: string[], req: IncomingMessage, res: ServerResponse) => void>();
  for (const kind of ["config", "state", "test"]) handlers.set(kind, (await load(`server/handle-${kind}.mjs`)).default);
  const created = createServer((req, res) => {
    const [, kind = "", ...segments] = new URL(req.url as string, "http://localhost").pathname.split("/");
    const [, number] = /^request-(\d+)-/.exec(String(req.headers["x-request-id"])) ?? [];
    if (number !== undefined) req.headers["req-num"] = number;
    const handle = handlers.get(kind);
    if (handle === undefined) res.writeHead(404).end();
    else handle(segments, req, res);
  }).listen(0, "127.0.0.1");
  await once(created, "listening");
  return created;
}

async function startGateway(baseUrl: string) {
  const directory = temporaryFolder();
  const file = join(directory, "services.json");
  // The tests judge the cache, not what the gateway does to links and to headers for browsers.
  const cached = { baseUrl, cache: true, rewriteLinks: false, webContent: "pass", retries: 0, breaker: false };
  writeFileSync(file, JSON.stringify({ services: { cached } }));
  const env = { HOST: "127.0.0.1", PORT: "0", CONFIG_FILE: file, DATA_DIR: directory, ACCESS_LOG: "false" };
  const config = await loadConfig({
    directory,
    processEnv: { ...env, LOG_LEVEL: "fatal", PRESSURE_MAX_EVENT_LOOP_DELAY: "0" },
  });
  return openGateway(config, { logSink: { write() {}, flushSync() {} } });
}

function numberedBy(fetch: Fetch): Fetch {
  let sent = 0;
  return (url, init = {}) => {
    const headers = init.headers ?? [];
    const number = headers.find(([name]) => name === "Req-Num")?.[1];
    const others = headers.filter(([name]) => name !== "Req-Num");
    if (number !== undefined) others.push(["X-Request-Id", `request-${number}-${++sent}`]);
    return fetch(url, { ...init, headers: others });
  };
}

function report(own: Results): void {
  const results: Readonly<Record<string, Results>> = {
    ByteProxy: own,
    nginx: shipped("nginx"),
    Varnish: shipped("varnish"),
  };
  const tests = suites.flatMap((suite) => suite.tests).filter((test) => test.browser_only !== true);
  for (const kind of ["required", "optimal", "check"] as const) {
    const ofKind = tests.filter((test) => (test.kind ?? "required") === kind);
    const counts = Object.entries(results).map(
      ([name, found]) => `${name} ${ofKind.filter(({ id }) => found[id] === true).length}`,
    );
    log(`${kind}: ${ofKind.length} tests; passed: ${counts.join(", ")}`);
  }
  const failed = tests.filter((test) => (test.kind ?? "required") === "required" && own[test.id] !== true);
  log("\nRequired tests that ByteProxy does not pass:");
  for (const { id } of failed) {
    const others = Object.entries(results)
      .slice(1)
      .map(([name, found]) => `${name} ${found[id] === true ? "passes" : "fails"}`);
    log(`  ${id} (${others.join(", ")}): ${String((own[id] as readonly string[] | undefined)?.[1])}`);
  }
  if (process.argv.includes("--list"))
    for (const { id, kind } of tests) log(`  ${kind ?? "required"} ${id}: ${String(own[id])}`);
  const at = process.argv.indexOf("--json");
  if (at !== -1) writeFileSync(process.argv[at + 1] as string, JSON.stringify(own, null, 2));
}

function shipped(name: string): Results {
  return JSON.parse(readFileSync(join(root, "results", `${name}.json`), "utf8")) as Results;
}
