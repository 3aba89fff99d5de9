/** The import rules, checked against the imports of every file. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { describe, expect, test } from "vitest";

const root = resolve(import.meta.dirname, "..");
const src = join(root, "src");

interface Import {
  readonly from: string;
  /** Path below src, or the package's name. */
  readonly to: string;
  readonly isTypeOnly: boolean;
}

const files = filesUnder(src).map((file) => relative(src, file));
const imports = files.flatMap(importsOf);

describe("The architecture", () => {
  test("The test reads the whole tree", () => {
    expect(files).toContain("data-plane/pipeline.ts");
    expect(imports.length).toBeGreaterThan(100);
  });

  test("The planes import only types from each other", () => {
    expect(codeBetween("data-plane/", "control-plane/")).toEqual([]);
    expect(codeBetween("control-plane/", "data-plane/")).toEqual([]);
  });

  test("No file imports main, and only main and start/ import gateway", () => {
    expect(imports.filter(({ to }) => to === "main.ts")).toEqual([]);
    const importers = imports
      .filter(({ to, isTypeOnly }) => to === "gateway.ts" && !isTypeOnly)
      .map(({ from }) => from);
    expect(importers.sort()).toEqual(["start/diagnose-start.ts", "start/start.ts"]);
  });

  test("Only the gateway, and the command line without a gateway, import composition/", () => {
    const outside = imports.filter(
      ({ from, to, isTypeOnly }) => to.startsWith("composition/") && !from.startsWith("composition/") && !isTypeOnly,
    );
    const importers = ["cli/offline-stores.ts", "cli/run-login.ts", "gateway.ts"];
    expect([...new Set(outside.map(({ from }) => from))].sort()).toEqual(importers);
  });

  test("The shared rooms import only types from a plane", () => {
    for (const room of [
      "errors.ts",
      "config/",
      "telemetry/",
      "stores/",
      "callers/",
      "limits/",
      "services/",
      "perimeter/",
      "pressure/",
      "diagnostics/",
      "hooks/",
    ]) {
      expect(codeBetween(room, "data-plane/"), room).toEqual([]);
      expect(codeBetween(room, "control-plane/"), room).toEqual([]);
    }
  });

  test("Only the admission walk and the pipeline import steps, and steps never import steps", () => {
    const steps = ["identify", "authorize", "rate-limit", "refuse", "record"].map((step) => `data-plane/${step}.ts`);
    const importers = imports.filter(({ to, isTypeOnly }) => steps.includes(to) && !isTypeOnly).map(({ from }) => from);
    expect([...new Set(importers)].sort()).toEqual(["data-plane/admission.ts", "data-plane/pipeline.ts"]);
  });

  test("Load is decided at admission, for a request that no stored response serves, and where a request waits", () => {
    const importers = imports.filter(({ to, isTypeOnly }) => to === "data-plane/load.ts" && !isTypeOnly);
    expect(importers.map(({ from }) => from).sort()).toEqual([
      "data-plane/admission.ts",
      "data-plane/admit-to-upstream.ts",
      "data-plane/dry-run/dry-run.ts",
      "data-plane/forward/forward.ts",
      "data-plane/reacquire-slots.ts",
    ]);
  });

  test("The pipeline and the dry run share one admission walk", () => {
    const importers = imports.filter(({ to, isTypeOnly }) => to === "data-plane/admission.ts" && !isTypeOnly);
    expect(importers.map(({ from }) => from).sort()).toEqual([
      "data-plane/dry-run/dry-run.ts",
      "data-plane/pipeline.ts",
    ]);
  });

  test("Only composition/ imports code from the data plane", () => {
    const outside = imports.filter(
      ({ from, to, isTypeOnly }) => to.startsWith("data-plane/") && !from.startsWith("data-plane/") && !isTypeOnly,
    );
    expect([...new Set(outside.map(({ from }) => from))].sort()).toEqual([
      "composition/credential-sources.ts",
      "composition/generation.ts",
      "composition/login-client.ts",
      "composition/process-parts.ts",
      "composition/stored-parts.ts",
      "composition/token-source.ts",
      "composition/upstreams.ts",
    ]);
  });

  test.each([
    ["control-plane/", ["app.ts"]],
    ["control-plane/docs/", ["docs-page.ts"]],
    ["control-plane/manage/", ["manage.ts"]],
    ["data-plane/dry-run/", ["dry-run.ts"]],
    [
      "data-plane/credential/",
      [
        "command-secrets.ts",
        "create-credential.ts",
        "credential-provider.ts",
        "device-login.ts",
        "discovery.ts",
        "form-body.ts",
        "login-tokens.ts",
        "oauth2-order.ts",
        "place-plan.ts",
        "renewed-tokens.ts",
        "run-command.ts",
        "staged-rotations.ts",
      ],
    ],
    [
      "data-plane/forward/transport/",
      [
        "client-binding.ts",
        "http2/http2-transport.ts",
        "response-fields.ts",
        "section-buffer.ts",
        "single-use.ts",
        "transport.ts",
      ],
    ],
    ["data-plane/aws/", ["canonical-request.ts", "payload.ts", "request-signer.ts"]],
    ["data-plane/forward/scrub/", ["body-scrub.ts", "scrubbed-fields.ts"]],
    ["hooks/", ["hook-loader.ts", "request-draft.ts", "response-draft.ts"]],
    ["data-plane/cache/", ["explain-cache.ts", "forward-through-cache.ts", "service-cache.ts"]],
    [
      "data-plane/idempotency/",
      ["explain-idempotency.ts", "forward-once.ts", "idempotency-key.ts", "service-idempotency.ts"],
    ],
    [
      "data-plane/spend/",
      ["explain-spend.ts", "prepare-request.ts", "readable-response.ts", "spending.ts", "walk-budget.ts"],
    ],
    ["data-plane/quota/", ["read-quota.ts", "service-quota.ts"]],
    ["data-plane/forward/websocket/", ["handshake.ts", "message-injection.ts", "open-tunnel.ts", "recorder.ts"]],
  ])("Other rooms import only the entry files of %s", (room, doors) => {
    const entered = imports.filter(
      ({ from, to, isTypeOnly }) => to.startsWith(room) && !from.startsWith(room) && !isTypeOnly,
    );
    expect([...new Set(entered.map(({ to }) => to.slice(room.length)))].sort()).toEqual(doors);
  });

  test("Only main imports the command line, and start/ imports only its failure", () => {
    const outside = imports.filter(({ from, to }) => to.startsWith("cli/") && !from.startsWith("cli/"));
    expect(outside.map(({ from, to }) => [from, to])).toEqual([
      ["main.ts", "cli/command-line.ts"],
      ["start/start-failure.ts", "cli/cli-failure.ts"],
    ]);
  });

  test("No file imports itself through other files, not even for types only", () => {
    // Files that import none of the files that are left are removed until nothing changes; files of a circle remain.
    const left = new Set(files);
    const importsNoneLeft = (file: string) => !imports.some(({ from, to }) => from === file && left.has(to));
    for (let size = 0; size !== left.size; ) {
      size = left.size;
      for (const file of left) if (importsNoneLeft(file)) left.delete(file);
    }
    expect([...left]).toEqual([]);
  });

  test.each([
    ["hono", ["control-plane/", "server.ts"]],
    ["@hono/node-server", ["control-plane/", "server.ts"]],
    ["@hono/zod-openapi", ["control-plane/"]],
    // Its files are served to browsers; none of its code runs here.
    ["swagger-ui-dist", []],
    // The transport is the gateway's own; the bench compares it with undici.
    ["undici", []],
    ["http-proxy-3", ["data-plane/forward/tunnel.ts"]],
    ["ws", ["data-plane/forward/tunnel.ts"]],
    ["pino", ["telemetry/logger.ts"]],
    ["pino-pretty", ["telemetry/logger.ts"]],
    ["prom-client", ["telemetry/metrics.ts", "telemetry/request-series.ts", "telemetry/service-gauges.ts"]],
    ["rate-limiter-flexible", ["limits/"]],
    ["redis", ["stores/redis-client.ts"]],
    ["dotenv", ["config/env.ts"]],
    ["commander", ["cli/"]],
    ["yaml", ["config/"]],
    ["zod", ["config/"]],
    ["jose", ["callers/", "data-plane/credential/"]],
    ["oauth4webapi", ["data-plane/credential/"]],
    ["re2js", ["config/path-hints.ts", "data-plane/path-hints.ts"]],
  ])("Only its own room imports %s", (name, allowed) => {
    const importers = imports.filter(({ to }) => to === name || to.startsWith(`${name}/`)).map(({ from }) => from);
    expect(importers.filter((from) => !allowed.some((place) => from.startsWith(place)))).toEqual([]);
  });

  test("An installation runs the scripts of four packages, and sends no report", () => {
    const read = (name: string) => JSON.parse(readFileSync(join(root, name), "utf8"));
    const { packages } = read("package-lock.json") as { packages: Record<string, { hasInstallScript?: boolean }> };
    const names = Object.keys(packages).filter((name) => packages[name]?.hasInstallScript);
    // @scarf/scarf reports each installation of Swagger UI unless it is disabled. Those of Google's SDK only print.
    expect(names).toEqual(
      ["@google/genai", "@scarf/scarf", "esbuild", "protobufjs"].map((name) => `node_modules/${name}`),
    );
    expect(read("package.json").scarfSettings).toEqual({ enabled: false });
  });

  test("The Redis client is loaded only when a connection is opened", () => {
    expect(filesWith(/from "redis"/)).toEqual([]);
    expect(filesWith(/await import\("redis"\)/)).toEqual(["stores/redis-client.ts"]);
  });

  test("Every outgoing connection of the gateway uses dial()", () => {
    const opens = (module: string, names: string) =>
      filesWith(new RegExp(`import \\{[^}]*\\b(?<!type )(?:${names})\\b[^}]*\\} from "node:${module}"`));
    // The lock of the data directory is a Unix socket; the command line talks to a running gateway.
    expect(opens("(?:net|tls)", "connect|createConnection|Socket|TLSSocket").sort()).toEqual([
      "data-plane/forward/egress.ts",
      "data-plane/forward/probe.ts",
      "data-plane/forward/tls-opener.ts",
      "stores/data-dir-lock.ts",
    ]);
    const requesting = opens("https?", "request|get|Agent");
    expect(requesting.sort()).toEqual([
      "cli/gateway-client.ts",
      "data-plane/forward/egress.ts",
      "data-plane/forward/probe.ts",
      "data-plane/forward/small-exchange.ts",
    ]);
    // On a socket of dial().
    expect(opens("http2", "connect")).toEqual(["data-plane/forward/transport/http2/http2-session.ts"]);
    const dialing = filesWith(/\bcreateDialAgent\(/);
    expect(dialing).toEqual(
      expect.arrayContaining(["data-plane/forward/probe.ts", "data-plane/forward/small-exchange.ts"]),
    );
    expect(filesWith(/(?<![.\w])fetch\(/)).toEqual([]);
  });

  test("One file starts processes", () => {
    expect(filesWith(/from "node:(?:child_process|cluster|worker_threads)"/)).toEqual([
      "data-plane/credential/run-command.ts",
    ]);
  });

  test("One file reads process.env, and one file ends the process", () => {
    expect(filesWith(/process\.env\b/)).toEqual(["config/env.ts"]);
    expect(filesWith(/process\.exit\b/)).toEqual(["main.ts"]);
  });

  test("File names are kebab-case, and none is a catch-all", () => {
    const forbidden = /(^|\/)(index|utils?|helpers?|common|types)\.ts$|\/(utils?|helpers?|common)\//;
    expect(files.filter((file) => forbidden.test(file))).toEqual([]);
    expect(files.filter((file) => !/^[a-z0-9/-]+\.ts$/.test(file))).toEqual([]);
  });

  test("No file is longer than 300 lines, and every file begins with a comment", () => {
    const text = (file: string) => readFileSync(join(src, file), "utf8");
    expect(files.filter((file) => text(file).split("\n").length > 301)).toEqual([]);
    expect(files.filter((file) => !/^(#!.*\n)?\/\*\*/.test(text(file)))).toEqual([]);
  });

  test("There are no default exports and no mutable module-level variables", () => {
    expect(filesWith(/^export default/m)).toEqual([]);
    expect(filesWith(/^(export )?let /m)).toEqual([]);
    expect(filesWith(/^(export )?const \w+(: [^=]+)? = new (Map|Set|WeakMap|WeakSet)(<[^\n]*>)?\(\);/m)).toEqual([]);
  });
});

function codeBetween(fromPrefix: string, toPrefix: string): Import[] {
  return imports.filter(
    ({ from, to, isTypeOnly }) => from.startsWith(fromPrefix) && to.startsWith(toPrefix) && !isTypeOnly,
  );
}

function filesWith(pattern: RegExp): string[] {
  return files.filter((file) => pattern.test(withoutComments(readFileSync(join(src, file), "utf8"))));
}

function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");
}

function importsOf(file: string): Import[] {
  const text = withoutComments(readFileSync(join(src, file), "utf8"));
  const found = text.matchAll(/\b(import|export)\s+(type\s+)?[^;"']*?from\s+"([^"]+)"|\bimport\(\s*"([^"]+)"\s*\)/g);
  return [...found].map((match) => {
    const target = (match[3] ?? match[4]) as string;
    const to = target.startsWith(".") ? relative(src, resolve(src, dirname(file), target)) : target;
    return { from: file, to, isTypeOnly: match[2] !== undefined || isAllTypes(match[0]) };
  });
}

/** `import { type A, type B } from` imports no code either. */
function isAllTypes(statement: string): boolean {
  const names = /\{([^}]*)\}/.exec(statement)?.[1];
  return names?.split(",").every((name) => /^\s*(type\s|$)/.test(name)) ?? false;
}

function filesUnder(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return filesUnder(path);
    return entry.name.endsWith(".ts") ? [path] : [];
  });
}
