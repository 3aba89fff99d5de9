/** A real Redis for tests, in memory only: Debian's redis-server, or Valkey. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { eventually } from "./eventually.ts";
import { freePort } from "./free-port.ts";

function findProgram(): string | undefined {
  for (const name of ["redis-server", "valkey-server"]) {
    try {
      return execFileSync("which", [name], { encoding: "utf8" }).trim();
    } catch {
      // The next one.
    }
  }
  return undefined;
}

const program = findProgram();

/** For `describe.skipIf`. A warning reports a missing server. */
export const hasRedis = program !== undefined;
if (!hasRedis) console.warn("SKIPPED: the tests with Redis. Install Debian's package redis-server to run them.");

export interface RedisServer {
  readonly port: number;
  readonly url: string;
  /** One command over a connection of its own. Its reply as it was sent, without the protocol's marks for a simple one. */
  command(...args: readonly string[]): Promise<string>;
  signal(name: "SIGSTOP" | "SIGCONT"): void;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** Starts it again on the same port, empty. */
  restart(): Promise<void>;
}

/** Ended with the test. @param options of its command line. */
export async function startRedis(options: readonly string[] = [], port?: number): Promise<RedisServer> {
  const chosen = port ?? (await freePort());
  const folder = mkdtempSync(join(tmpdir(), "byteproxy-redis-"));
  let child: ChildProcess | undefined;
  const password = options[options.indexOf("--requirepass") + 1] ?? "";
  const auth = options.includes("--requirepass") ? [["AUTH", password]] : [];
  const command = (...args: readonly string[]) => send(chosen, [...auth, args]);
  const start = async () => {
    const fixed = [
      "--port",
      String(chosen),
      "--bind",
      "127.0.0.1",
      "--save",
      "",
      "--appendonly",
      "no",
      "--dir",
      folder,
    ];
    child = spawn(program as string, [...fixed, ...options], { stdio: "ignore" });
    await eventually(async () => (await command("PING").catch(() => "")).startsWith("PONG"), "Redis to start", 10_000);
  };
  const kill = async () => {
    const running = child;
    child = undefined;
    if (running === undefined) return;
    const ended = once(running, "exit");
    running.kill("SIGKILL");
    await ended;
  };
  onTestFinished(async () => {
    await kill();
    rmSync(folder, { recursive: true, force: true });
  });
  await start();
  return {
    port: chosen,
    url: `redis://127.0.0.1:${chosen}`,
    command,
    signal: (name) => void child?.kill(name),
    kill,
    restart: start,
  };
}

/** The reply to the last of the commands, when all have one. */
function send(port: number, commands: readonly (readonly string[])[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1");
    let text = "";
    socket.on("error", reject);
    socket.on("data", (chunk) => {
      text += chunk;
    });
    socket.on("close", () => {
      const replies = text.replace(/\+OK\r\n$/, "");
      resolve((commands.length > 1 ? replies.replace(/^\+OK\r\n/, "") : replies).replace(/^[+:]/, "").trim());
    });
    for (const args of [...commands, ["QUIT"]]) {
      socket.write(`*${args.length}\r\n${args.map((arg) => `$${Buffer.byteLength(arg)}\r\n${arg}\r\n`).join("")}`);
    }
  });
}
