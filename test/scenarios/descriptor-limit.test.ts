/** The limit of open descriptors: accepted connections are served, and the process survives. */
import { connect, type Socket } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { startProcess, withOpenFiles } from "../support/process.ts";
import { rawRequest } from "../support/raw-request.ts";

/** Node opens this many files at once while it starts. */
const OPEN_FILES = 320;

test("A process without a free descriptor keeps running, serves its open connections, and later accepts new ones again", async () => {
  const env = { PRESSURE_SAMPLE_INTERVAL: "10", PRESSURE_MAX_RSS_BYTES: String(2 ** 40) };
  const run = startProcess(env, [], {}, withOpenFiles(OPEN_FILES));
  const port = await run.port();
  const known = await openConnections(port, 1);
  const crowd = await openConnections(port, OPEN_FILES);
  // Connections without a descriptor are closed unread.
  await eventually(() => crowd.some(({ closed }) => closed), "the limit");
  for (let samples = 0; samples < 10; samples++) {
    expect(await ask(known[0] as Socket, "/up")).toMatch(/^HTTP\/1\.1 200 /);
  }
  expect(await ask(known[0] as Socket, "/metrics")).toMatch(/^byteproxy_process_heap_used_bytes \d+$/m);
  for (const socket of crowd) socket.destroy();
  await eventually(async () => (await rawRequest(port, `GET /health HTTP/1.0\r\n\r\n`)).status === 200, "room");
  run.child.kill("SIGTERM");
  expect(await run.ended).toBe(0);
  expect(run.err()).toBe("");
});

async function openConnections(port: number, count: number): Promise<Socket[]> {
  const sockets = Array.from({ length: count }, () => connect(port, "127.0.0.1").on("error", () => {}));
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
  });
  await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.once("connect", resolve))));
  return sockets;
}

function ask(socket: Socket, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    const onData = (chunk: Buffer) => {
      text += chunk;
      const [head = "", body = ""] = text.split("\r\n\r\n");
      if (body.length < Number(/content-length: (\d+)/i.exec(head)?.[1] ?? Number.POSITIVE_INFINITY)) return;
      socket.off("data", onData).off("close", onClose);
      resolve(text);
    };
    const onClose = () => reject(new Error("closed"));
    socket.on("data", onData).once("close", onClose);
    socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  });
}
