/** Bodies of any size pass in constant memory, measured in a separate process. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { builtMain } from "../support/built.ts";
import { eventually } from "../support/eventually.ts";
import { startUpstream } from "../support/upstream.ts";

const MIB = 1024 * 1024;
const SIZE = 256 * MIB;
const GROWTH_LIMIT = 64 * MIB;
const chunk = Buffer.alloc(MIB, 97);

const hasProc = existsSync("/proc/self/status");
if (!hasProc) console.warn("SKIPPED: memory of a process is read from /proc");

/** Bytes: `VmRSS` is the present use, `VmHWM` the highest so far. */
function memoryOf(child: ChildProcess, field: "VmRSS" | "VmHWM"): number {
  const status = readFileSync(`/proc/${child.pid}/status`, "utf8");
  return Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1]) * 1024;
}

/** A gateway in a separate process, with an upstream that reads any body and sends one of the same size. */
async function start() {
  const upstream = await startUpstream((req, res) => {
    let size = 0;
    req.on("data", (data: Buffer) => {
      size += data.length;
    });
    if (req.method === "POST") {
      req.on("end", () => res.end(String(size)));
      return;
    }
    let sent = 0;
    const pump = () => {
      while (sent < SIZE) {
        sent += chunk.length;
        if (!res.write(chunk)) return;
      }
      res.end();
    };
    res.on("drain", pump);
    pump();
  });
  const directory = mkdtempSync(join(tmpdir(), "byteproxy-memory-"));
  writeFileSync(join(directory, "s.json"), JSON.stringify({ services: { api: { baseUrl: upstream.url } } }));
  const child = spawn(process.execPath, [builtMain], {
    cwd: directory,
    env: { PATH: process.env.PATH, PORT: "0", LOG_FORMAT: "json", CONFIG_FILE: "s.json" },
  });
  const ended = new Promise((done) => child.on("close", done));
  onTestFinished(async () => {
    child.kill("SIGKILL");
    await ended;
    rmSync(directory, { recursive: true, force: true });
  });
  let out = "";
  child.stdout.on("data", (data) => {
    out += data;
  });
  const port = await eventually(
    () => /listens on http:\/\/[^ "]+:(\d+)/.exec(out)?.[1],
    "the gateway to listen",
    9_000,
  );
  const url = `http://127.0.0.1:${port}/proxy/api/`;
  // Excludes the memory for the first requests, and the buffers that Node 24 allocates before its first garbage collection: their
  // number is the same after 128 MiB as after more.
  await download(url, 0, 128 * MIB);
  return { child, url, before: memoryOf(child, "VmRSS") };
}

/** Reads up to this many bytes, with pauses, and returns the number that it read. */
function download(url: string, pauseMs: number, limit = Number.POSITIVE_INFINITY): Promise<number> {
  return new Promise((done, fail) => {
    const req = request(url, (res) => {
      let size = 0;
      let sincePause = 0;
      res.on("data", (data: Buffer) => {
        size += data.length;
        sincePause += data.length;
        if (size >= limit) res.destroy();
        else if (pauseMs > 0 && sincePause > 16 * MIB) {
          sincePause = 0;
          res.pause();
          setTimeout(() => res.resume(), pauseMs);
        }
      });
      res.on("close", () => done(size));
    });
    req.on("error", fail);
    req.end();
  });
}

function upload(url: string, pauseMs: number): Promise<string> {
  return new Promise((done, fail) => {
    const req = request(url, { method: "POST", headers: { "content-length": SIZE } }, (res) => {
      let text = "";
      res.on("data", (data) => {
        text += data;
      });
      res.on("end", () => done(text));
    });
    req.on("error", fail);
    let sent = 0;
    const pump = () => {
      if (sent >= SIZE) return void req.end();
      sent += chunk.length;
      const goesOn = req.write(chunk);
      if (sent % (16 * MIB) === 0 && pauseMs > 0) setTimeout(pump, pauseMs);
      else if (goesOn) setImmediate(pump);
      else req.once("drain", pump);
    };
    pump();
  });
}

describe.skipIf(!hasProc)("256 MiB", () => {
  test.each([0, 20])(
    "A download of 256 MiB to a client that pauses for %i ms needs less than 64 MiB of memory",
    async (pauseMs) => {
      const { child, url, before } = await start();
      expect(await download(url, pauseMs)).toBe(SIZE);
      expect(memoryOf(child, "VmHWM") - before).toBeLessThan(GROWTH_LIMIT);
    },
  );

  test.each([0, 20])(
    "An upload of 256 MiB from a client that pauses for %i ms needs less than 64 MiB of memory",
    async (pauseMs) => {
      const { child, url, before } = await start();
      expect(await upload(url, pauseMs)).toBe(String(SIZE));
      expect(memoryOf(child, "VmHWM") - before).toBeLessThan(GROWTH_LIMIT);
    },
  );
});
