/**
 * Builds the image from the Dockerfile with buildah and tries it: `npm run image`. It needs root and Debian's packages `buildah` and
 * `mmdebstrap`; without them it says so and checks nothing.
 * The container runs with a read-only file system, without root, on all addresses, as deploy/ runs it.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, request } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { isInstalled, run, type StartedProcess, start } from "./commands.ts";
import { createStandInBase } from "./stand-in-base.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const KEY = "image-test-proxy-key-0123456789";
const TOKEN = "image-test-upstream-token-0123456789";
const START_MS = 30_000;

/** How buildah is run without a daemon, without overlay mounts, and without a sandbox of its own. */
const STORAGE = ["--storage-driver", "vfs"];

const missing = ["buildah", "mmdebstrap", "unshare"].filter((command) => !isInstalled(command));
if (process.getuid?.() !== 0) missing.push("root's rights");
if (missing.length > 0) {
  console.log(`SKIPPED: the image was not built, because this needs ${missing.join(", ")}.`);
  process.exit(0);
}

const folder = mkdtempSync(join(tmpdir(), "byteproxy-image-"));
const storage = ["--root", join(folder, "storage"), "--runroot", join(folder, "run"), ...STORAGE];
const buildah = (...args: string[]) => run("buildah", [...storage, ...args]);
let checks = 0;
function check(what: string, isTrue: boolean, evidence = ""): void {
  if (!isTrue) throw new Error(`${what}: not true. ${evidence}`);
  checks++;
  console.log(`ok: ${what}`);
}

try {
  const dockerfile = readFileSync(join(root, "Dockerfile"), "utf8");
  const bases = new Set([...dockerfile.matchAll(/^FROM (\S+)/gm)].map((match) => match[1] as string));
  check("the Dockerfile has one base image", bases.size === 1, [...bases].join(" "));
  const [base = ""] = bases;
  console.log(`making a stand-in for ${base}`);
  createStandInBase(base, folder, buildah);
  console.log("building the image");
  const commit = run("git", ["-C", root, "rev-parse", "HEAD"]).trim();
  const builtAt = performance.now();
  buildah(
    ...["bud", "--isolation", "chroot", "--pull-never", "--format", "docker", "--build-arg", `COMMIT=${commit}`],
    ...["-t", "byteproxy", root],
  );
  console.log(`built in ${Math.round((performance.now() - builtAt) / 1000)} s`);
  await tryImage(commit);
  console.log(`image: ${checks} checks passed`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

interface ImageConfig {
  readonly Env: readonly string[];
  readonly Cmd: readonly string[];
  readonly User: string;
  readonly StopSignal: string;
  readonly Labels: Readonly<Record<string, string>>;
  readonly Healthcheck: { readonly Test: readonly string[] };
}

async function tryImage(commit: string): Promise<void> {
  const inspected = JSON.parse(buildah("inspect", "--type", "image", "byteproxy")) as {
    readonly Docker: { readonly config: ImageConfig };
  };
  const { config } = inspected.Docker;
  check("it runs as the user node", config.User === "node", config.User);
  check("a label names the commit", config.Labels["org.opencontainers.image.revision"] === commit);
  check("it stops by SIGTERM", config.StopSignal === "SIGTERM");

  const container = buildah("from", "--pull-never", "localhost/byteproxy").trim();
  const mounted = buildah("mount", container).trim();
  const upstream = await startUpstream();
  const port = await freePort();
  writeFileSync(
    join(mounted, "app/config/services.json"),
    JSON.stringify({
      services: { up: { baseUrl: upstream.url, auth: { type: "bearer", tokenEnvVar: "UP_TOKEN" } } },
    }),
  );
  const env = {
    ...Object.fromEntries(
      config.Env.map((pair) => [pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)]),
    ),
    HOST: "0.0.0.0",
    PORT: String(port),
    PROXY_API_KEY: KEY,
    MANAGEMENT_API_KEY: `${KEY}-management`,
    UP_TOKEN: TOKEN,
    SHUTDOWN_DELAY: "0",
  };
  const enter = (...command: string[]) => readOnlyCommand(mounted, command);

  check(
    "byteproxy is on its PATH",
    /^\d+\.\d+\.\d+$/.test(run("unshare", enter("byteproxy", "--version"), env).trim()),
  );
  const gateway = start("unshare", enter(...config.Cmd), env);
  try {
    await untilHealthy(port, gateway);
    check("it serves /health", (await get(port, "/health")).status === 200);
    const { version } = JSON.parse((await get(port, "/version")).text) as { version: string };
    check("it knows its version", version !== "");
    const [kind, ...health] = config.Healthcheck.Test;
    check("the health check is a command without a shell", kind === "CMD");
    run("unshare", enter(...health), env);
    check("the health check follows HOST and PORT", true);
    const proxied = await get(port, "/proxy/up/hello", { authorization: `Bearer ${KEY}` });
    check("a proxied request carries the credential", proxied.text === `Bearer ${TOKEN} /hello`, proxied.text);
    check("a request without a key is refused", (await get(port, "/proxy/up/hello")).status === 401);

    const slow = get(port, "/proxy/up/slow", { authorization: `Bearer ${KEY}` });
    await upstream.slowArrived;
    process.kill(gatewayPid(gateway), "SIGTERM");
    await delay(500);
    upstream.releaseSlow();
    const { status, text } = await slow;
    check("SIGTERM lets a request in flight end", status === 200 && text === "slow", `${status} ${text}`);
    const code = await gateway.ended;
    check("it exits with 0 after SIGTERM", code === 0, `${code}\n${gateway.output()}`);
  } finally {
    gateway.child.kill("SIGKILL");
    upstream.close();
  }
  const failing = start("unshare", enter(...config.Cmd), { ...env, PROXY_API_KEY: "", MANAGEMENT_API_KEY: "" });
  const code = await failing.ended;
  check("without keys it does not start on all addresses", code === 2, `${code}\n${failing.output()}`);
}

/** unshare's arguments: the root is mounted read-only, except /data and /tmp, and the command runs as the user node. */
function readOnlyCommand(mounted: string, command: readonly string[]): string[] {
  const script = [
    `mount --bind "$1" "$1" && mount -o remount,ro,bind "$1"`,
    `mount -t tmpfs -o mode=0700,uid=1000,gid=1000 data "$1/data"`,
    `mount -t tmpfs tmp "$1/tmp"`,
    `root="$1"; shift; exec chroot --userspec=node:node "$root" sh -c 'cd /app && exec "$@"' sh "$@"`,
  ];
  return ["--mount", "sh", "-ec", script.join("; "), "sh", mounted, ...command];
}

/** unshare, sh and chroot each replace themselves by the next program, so the child is the gateway. */
function gatewayPid({ child }: StartedProcess): number {
  return child.pid as number;
}

async function startUpstream() {
  let arrive = () => {};
  let release = () => {};
  const slowArrived = new Promise<void>((resolve) => {
    arrive = resolve;
  });
  const server = createServer((req, res) => {
    if (req.url !== "/slow") return void res.end(`${req.headers.authorization} ${req.url}`);
    release = () => res.end("slow");
    arrive();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    slowArrived,
    releaseSlow: () => release(),
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

async function freePort(): Promise<number> {
  const server = createTcpServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function untilHealthy(port: number, gateway: StartedProcess): Promise<void> {
  const until = performance.now() + START_MS;
  for (;;) {
    const isUp = await get(port, "/health").then(
      ({ status }) => status === 200,
      () => false,
    );
    if (isUp) return;
    if (gateway.child.exitCode !== null || performance.now() > until) {
      throw new Error(`the gateway did not start:\n${gateway.output()}`);
    }
    await delay(50);
  }
}

function get(
  port: number,
  path: string,
  headers: Record<string, string> = {},
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const req = request({ host: "127.0.0.1", port, path, headers, agent: false }, (res) => {
      let text = "";
      res.setEncoding("utf8").on("data", (chunk) => (text += chunk));
      res.on("end", () => resolve({ status: res.statusCode as number, text }));
      res.on("error", reject);
    });
    req.on("error", reject);
    req.end();
  });
}
