/**
 * Sends thousands of hostile paths over real sockets, with keys of every kind of permission: each path that reaches an upstream is
 * allowed by its key in every reading. `FUZZ_CASES` and `FUZZ_SEED` change the length and the cases of the run.
 */
import { connect, type Socket } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway, type TestGateway } from "../support/gateway.ts";
import { createRandom, GRANTS, makeCase, type SentPath } from "../support/hostile-paths.ts";
import { manage } from "../support/manage.ts";
import { problemOf, type ReachedPath } from "../support/path-oracle.ts";
import { startRawUpstream } from "../support/upstream.ts";

const CASES = Number(process.env.FUZZ_CASES ?? 2_000);
const SEED = Number(process.env.FUZZ_SEED ?? 20_261_121);
const CONNECTIONS = 8;

test("No path outside a permission reaches an upstream, in any spelling", {
  timeout: 600_000,
}, async () => {
  const reached = new Map<number, ReachedPath>();
  const upstream = await startRawUpstream(recordInto(reached));
  const { url } = upstream;
  const gateway = await startGateway({
    env: { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY, ACCESS_LOG: "false" },
    services: {
      root: { baseUrl: url },
      base: { baseUrl: `${url}/base/` },
      versioned: { baseUrl: `${url}/zero`, versionedBaseUrls: { v1: `${url}/one/`, v2: `${url}/two/deep` } },
      raw: { baseUrl: `${url}/raw/area/`, pathPolicy: "raw" },
    },
  });
  const keys = new Map<readonly string[], string>();
  for (const permissions of GRANTS) {
    const { body } = await manage(gateway, "POST", "/keys", { name: "fuzz", permissions });
    keys.set(permissions, body.key as string);
  }
  const random = createRandom(SEED);
  const cases = Array.from({ length: CASES }, () => makeCase(random, gateway.port));
  await sendAll(cases, keys, gateway);

  const outside = [...reached].flatMap(([index, seen]) => {
    const sent = cases[index] as SentPath;
    const problem = problemOf(sent, seen);
    return problem === undefined ? [] : [{ ...sent, seen, problem }];
  });
  expect(outside.slice(0, 5)).toEqual([]);
  // The oracle was used often enough, and on paths that are not plain.
  expect(reached.size).toBeGreaterThan(CASES / 20);
  expect([...reached.values()].filter(({ target }) => /%|;|\\|\/\//.test(target)).length).toBeGreaterThan(CASES / 100);
});

function recordInto(reached: Map<number, ReachedPath>) {
  const read = new WeakMap<Socket, number>();
  return (socket: Socket, received: string) => {
    for (;;) {
      const from = read.get(socket) ?? 0;
      const end = received.indexOf("\r\n\r\n", from);
      if (end === -1) return;
      const head = received.slice(from, end);
      read.set(socket, end + 4);
      const [, method, target] = /^(\S+) (.*) HTTP\/1\.1\r\n/.exec(head) ?? [];
      const index = Number(/\r\nx-case: (\d+)/i.exec(head)?.[1]);
      reached.set(index, { method: method ?? head, target: target ?? head });
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    }
  };
}

async function sendAll(
  cases: readonly SentPath[],
  keys: ReadonlyMap<readonly string[], string>,
  { port }: TestGateway,
) {
  let next = 0;
  const sockets = new Set<Socket>();
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
  });
  /** One connection at a time, reused as long as the gateway keeps it open. */
  const work = () =>
    new Promise<void>((resolve, reject) => {
      let socket: Socket;
      let text = "";
      /** Requests that wait for their responses. */
      let sent: SentPath | undefined;
      const send = () => {
        const index = next++;
        sent = cases[index];
        text = "";
        if (sent === undefined) return socket.end();
        const head = `${sent.method} ${sent.target} HTTP/1.1\r\nHost: localhost:${port}\r\nx-case: ${index}\r\n`;
        socket.write(Buffer.from(`${head}x-api-key: ${keys.get(sent.grant)}\r\n\r\n`, "latin1"));
      };
      const onData = (chunk: Buffer) => {
        text += chunk.toString("latin1");
        const headEnd = text.indexOf("\r\n\r\n");
        if (headEnd === -1) return;
        const length = sent?.method === "HEAD" ? 0 : Number(/\r\ncontent-length: (\d+)/i.exec(text)?.[1] ?? 0);
        if (text.length < headEnd + 4 + length) return;
        sent = undefined;
        if (!/\r\nconnection: close/i.test(text.slice(0, headEnd))) send();
      };
      const open = () => {
        socket = connect(port, "127.0.0.1", send);
        sockets.add(socket);
        socket.on("error", () => {});
        socket.on("data", onData);
        socket.on("close", () => {
          sockets.delete(socket);
          if (sent !== undefined) reject(new Error(`no response to ${JSON.stringify(sent)}: ${text}`));
          else if (next < cases.length) open();
          else resolve();
        });
      };
      open();
    });
  await Promise.all(Array.from({ length: CONNECTIONS }, work));
}
