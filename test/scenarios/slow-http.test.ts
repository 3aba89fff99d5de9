/** slowhttptest in its three modes, with 400 connections each, while an ordinary client sends requests. */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { startProcess } from "../support/process.ts";
import { startUpstream } from "../support/upstream.ts";

const run = promisify(execFile);
const hasSlowHttpTest = await run("slowhttptest", ["-h"]).then(
  () => true,
  ({ code }: { code: unknown }) => code !== "ENOENT",
);
if (!hasSlowHttpTest) {
  console.warn("SKIPPED: the attack by slowhttptest; install Debian's package slowhttptest to run it");
}

const CONNECTIONS = 400;
/** More than any reader takes. slow-clients.test.ts tests responses larger than the kernel's buffers. */
const BIG = Buffer.alloc(256 * 1024, 97);
/** The most that resident memory may have grown by at the end. */
const GROWTH_LIMIT_BYTES = 128 * 1024 * 1024;

interface Status {
  readonly load: { readonly connections: { current: number }[]; readonly inFlight: { current: number } };
  readonly memory: { readonly rssBytes: number };
}

const statusOf = async (url: string) => (await (await fetch(`${url}/status`)).json()) as Status;

/** The most connections that slowhttptest had at any second, by its own table. */
function connectionsMade(csv: string): number {
  const [head = "", ...rows] = csv.trim().split("\n");
  const columns = head.split(",").map((name) => name.trim().toLowerCase());
  const of = (row: string, name: string) => Number(row.split(",")[columns.indexOf(name)]);
  return Math.max(...rows.map((row) => of(row, "connected") + of(row, "closed")));
}

/** Sends a request every few ms until it is stopped, and one directly to the upstream, to measure the load of the machine. */
function askOn(url: string, upstreamUrl: string) {
  const durations: number[] = [];
  const ofUpstream: number[] = [];
  const failures: unknown[] = [];
  let isOver = false;
  const ask = async (target: string, into: number[]) => {
    const startedAt = performance.now();
    const status = await fetch(target).then(
      async (response) => (await response.text()) && response.status,
      (error: unknown) => error,
    );
    if (status !== 200) failures.push(status);
    into.push(performance.now() - startedAt);
  };
  const ended = (async () => {
    while (!isOver) {
      await Promise.all([ask(`${url}/proxy/api/small`, durations), ask(`${upstreamUrl}/small`, ofUpstream)]);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  })();
  return {
    async stop() {
      isOver = true;
      await ended;
      return { count: durations.length, failures, p99: p99Of(durations), p99OfUpstream: p99Of(ofUpstream) };
    },
  };
}

const p99Of = (durations: number[]) =>
  durations.sort((a, b) => a - b)[Math.floor(durations.length * 0.99)] ?? Number.POSITIVE_INFINITY;

describe.skipIf(!hasSlowHttpTest)("attack by slowhttptest", { timeout: 30_000 }, () => {
  test("An attack with slow heads, bodies and readers delays no other client and leaves nothing behind", async () => {
    const upstream = await startUpstream((req, res) => {
      req.resume();
      // Only with the whole body: the gateway does not wait for the rest after a response.
      req.once("end", () => res.end(req.url === "/big" ? BIG : "small"));
    });
    const file = JSON.stringify({ services: { api: { baseUrl: upstream.url } } });
    const attack = async (path: string, ...words: string[]) => {
      const process = startProcess({ CONFIG_FILE: "s.json", HEADERS_TIMEOUT: "1500" }, [], { "s.json": file });
      const url = `http://127.0.0.1:${await process.port()}`;
      const before = await statusOf(url);
      const client = askOn(url, upstream.url);
      const report = join(process.directory, "report");
      await run("slowhttptest", [
        ...[...words, "-g", "-o", report, "-u", url + path],
        ...["-c", String(CONNECTIONS), "-r", String(CONNECTIONS / 2), "-l", "3", "-i", "1", "-p", "5"],
      ]);
      expect(connectionsMade(readFileSync(`${report}.csv`, "utf8"))).toBeGreaterThan(CONNECTIONS * 0.9);
      const { count, failures, p99, p99OfUpstream } = await client.stop();
      expect(failures).toEqual([]);
      expect(count).toBeGreaterThan(5);
      expect(p99).toBeLessThan(1_000 + p99OfUpstream);
      await eventually(
        async () => {
          const { load, memory } = await statusOf(url);
          const isFree = (load.connections[0]?.current ?? 99) < 10 && load.inFlight.current === 0;
          return isFree && memory.rssBytes < before.memory.rssBytes + GROWTH_LIMIT_BYTES;
        },
        `everything to be free again behind ${words[0]}`,
        6_000,
      );
    };
    await Promise.all([
      attack("/proxy/api/small", "-H"),
      attack("/proxy/api/small", "-B", "-s", "8192"),
      attack("/proxy/api/big", "-X", "-w", "512", "-y", "1024", "-n", "1", "-z", "32"),
    ]);
    await eventually(() => upstream.sockets.size < 50, "the upstream's sockets to close", 6_000);
  });
});
