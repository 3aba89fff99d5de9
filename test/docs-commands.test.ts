/**
 * The commands of README and docs/, run as they are written, by a shell in an empty folder: `curl` and `byteproxy` against a real gateway.
 * Not run are commands with a placeholder (`<id>`), of other programs (npm, docker), and those for the default port of a service.
 */
import { spawn } from "node:child_process";
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { tempFolder } from "./config/temp-folder.ts";
import { builtMain } from "./support/built.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway } from "./support/gateway.ts";
import { startUpstream } from "./support/upstream.ts";

const root = resolve(import.meta.dirname, "..");
const PAGES = [
  "README.md",
  ...readdirSync(join(root, "docs"))
    .filter((name) => name.endsWith(".md"))
    .map((name) => `docs/${name}`),
];

/** The page shows how these fail. */
const SHOWN_TO_FAIL = [/"retrys"/, /services add shopify --offline$/];
/** A command that still runs then is not wrong: it follows the log, or serves. */
const RUNS_MS = 4_000;
const AT_ONCE = 4;

/** Codes of a request that is written wrongly. */
const WRONG =
  /STATUS (?:\d+ (?:NOT_FOUND|INVALID_REQUEST|INVALID_PATH|VALIDATION_ERROR|METHOD_NOT_ALLOWED|UNSUPPORTED_MEDIA_TYPE|INVALID_API_KEY|INSUFFICIENT_PERMISSIONS|INTERNAL_ERROR)|000)/;

interface DocumentedCommand {
  readonly page: string;
  readonly text: string;
}

function commandsOf(page: string): DocumentedCommand[] {
  const text = readFileSync(join(root, page), "utf8");
  return [...text.matchAll(/```(sh|console)\n(.*?)```/gs)].flatMap(([, language, body = ""]) =>
    joinedLines(body, language === "console").map((command) => ({ page, text: command })),
  );
}

/** Lines that end with a backslash, or inside a quote, go on. Of a console only lines with a prompt are commands. */
function joinedLines(body: string, isConsole: boolean): string[] {
  const commands: string[] = [];
  const lines = body.split("\n");
  for (let i = 0; i < lines.length; i++) {
    let line = lines[i] as string;
    if (isConsole && !line.startsWith("$ ")) continue;
    if (isConsole) line = line.slice(2);
    while (i + 1 < lines.length && (line.endsWith("\\") || line.split("'").length % 2 === 0)) {
      line = `${line}\n${lines[++i]}`;
    }
    commands.push(line.trim());
  }
  return commands;
}

const isRun = ({ text }: DocumentedCommand) =>
  /^(?:\w+=\$\()?(?:curl|(?:npx )?byteproxy)(?: |$)/.test(text) &&
  !/<[a-z]|localhost:4001|\.\.\.(?:$| )/.test(text) &&
  !SHOWN_TO_FAIL.some((pattern) => pattern.test(text));

interface Outcome {
  /** Null for a command that was still running. */
  readonly code: number | null;
  readonly err: string;
}

/** curl prints the status and the code of the gateway to stderr, because a command may redirect its output. */
const CURL_OPTIONS = 'write-out = "%{stderr}\\nSTATUS %{http_code} %header{x-proxy-error}\\n"\nmax-time = 8\n';

function createShell(port: number) {
  const folder = tempFolder({ ".curlrc": CURL_OPTIONS });
  const bin = join(folder, "bin");
  for (const each of [bin, join(folder, ".config/fish/completions")]) mkdirSync(each, { recursive: true });
  writeFileSync(join(bin, "byteproxy"), `#!/bin/sh\nexec "${process.execPath}" "${builtMain}" "$@"\n`);
  writeFileSync(join(bin, "npx"), '#!/bin/sh\nexec "$@"\n');
  for (const name of ["byteproxy", "npx"]) chmodSync(join(bin, name), 0o755);
  const env = {
    PATH: `${bin}:${process.env.PATH}`,
    HOME: folder,
    PORT: String(port),
    HOST: "127.0.0.1",
    PROXY_API_KEY: PROXY_KEY,
    MANAGEMENT_API_KEY: MANAGEMENT_KEY,
    KEY: PROXY_KEY,
    GITHUB_TOKEN: "an-upstream-secret-0123456789",
  };
  return (text: string): Promise<Outcome> =>
    new Promise((done) => {
      // Without jq, which may not be installed.
      const command = text.replace(/ \| jq .*$/s, "").replaceAll("localhost:3420", `localhost:${port}`);
      const child = spawn("sh", ["-c", command], { cwd: folder, env, detached: true });
      let err = "";
      child.stderr.on("data", (chunk) => {
        err += chunk;
      });
      child.stdout.resume();
      child.stdin.end();
      const timer = setTimeout(() => process.kill(-(child.pid as number), "SIGKILL"), RUNS_MS);
      child.on("close", (code) => {
        clearTimeout(timer);
        done({ code, err });
      });
    });
}

async function start() {
  const upstream = await startUpstream((_req, res) => res.end("{}"));
  const service = { baseUrl: upstream.url, auth: { type: "bearer", tokenEnvVar: "TOKEN" } } as const;
  return startGateway({
    env: {
      PROXY_API_KEY: PROXY_KEY,
      MANAGEMENT_API_KEY: MANAGEMENT_KEY,
      TOKEN: "an-upstream-secret-0123456789",
      CORS_ORIGINS: "https://app.example",
    },
    services: {
      github: { ...service, hosts: ["github.localhost"], rateLimit: { maxRequests: 1_000, windowMs: 60_000 } },
      gemini: { ...service, auth: { type: "api-key", headerName: "x-goog-api-key", tokenEnvVar: "TOKEN" } },
      openai: { ...service, versionedBaseUrls: { v1: upstream.url } },
      chat: { ...service, ws: true },
    },
  });
}

describe("Commands of the documentation", () => {
  test("Each curl and byteproxy command of README and docs/ is understood by the gateway and by the command line", async () => {
    const commands = PAGES.flatMap(commandsOf).filter(isRun);
    const unique = [...new Map(commands.map((command) => [command.text, command])).values()];
    expect(unique.length).toBeGreaterThan(50);
    const gateway = await start();
    const run = createShell(gateway.port);
    const wrong: string[] = [];
    const pending = [...unique];
    const worker = async () => {
      for (let next = pending.shift(); next !== undefined; next = pending.shift()) {
        const { code, err } = await run(next.text);
        if (code === 2 || code === 127 || WRONG.test(err)) wrong.push(`${next.page}: ${next.text}\n${err}`);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    expect(wrong).toEqual([]);
  }, 120_000);
});
