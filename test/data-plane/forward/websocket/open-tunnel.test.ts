/** A WebSocket whose messages wait for a secret: what each side receives, over real sockets. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import type { Injection } from "../../../../src/data-plane/credential/credential-provider.ts";
import { createMessageInjector } from "../../../../src/data-plane/forward/websocket/message-injection.ts";
import { OpenTunnel } from "../../../../src/data-plane/forward/websocket/open-tunnel.ts";
import { eventually } from "../../../support/eventually.ts";
import { readFrames, textFrame } from "../../../support/frames.ts";

/** Both ends of a connection. */
async function pair(): Promise<{ readonly near: Socket; readonly far: Socket & { received: Buffer } }> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const far = Object.assign(connect((server.address() as AddressInfo).port, "127.0.0.1"), {
    received: Buffer.alloc(0),
  });
  const [near] = (await once(server, "connection")) as [Socket];
  far.on("data", (chunk: Buffer) => {
    far.received = Buffer.concat([far.received, chunk]);
  });
  onTestFinished(() => {
    for (const each of [near, far, server]) "destroy" in each ? each.destroy() : each.close();
  });
  return { near, far };
}

async function openTunnel(get: () => Injection | Promise<Injection>) {
  const [client, upstream] = [await pair(), await pair()];
  const injection = createMessageInjector({ match: [], path: "t" }, { get }).open(() => false);
  new OpenTunnel(client.near, upstream.near, 0, injection);
  return { client: client.far, upstream: upstream.far, near: { client: client.near, upstream: upstream.near } };
}

const withSecret = (secret: string) => ({ messages: new Map([["{token}", secret]]) }) as unknown as Injection;
const texts = ({ received }: { received: Buffer }) => readFrames(received).map(({ payload }) => String(payload));

test("Each message receives the secret of its own time, and later ones wait for it in their order", async () => {
  const answers: ((injection: Injection) => void)[] = [];
  const { client, upstream } = await openTunnel(() => new Promise((resolve) => answers.push(resolve)));
  client.write(Buffer.concat([textFrame("before"), textFrame('{"t":"{token}"}'), textFrame("same chunk")]));
  await eventually(() => answers.length === 1);
  client.write(textFrame("later"));
  await eventually(() => upstream.received.length > 0);
  expect(texts(upstream)).toEqual(["before"]);
  answers[0]?.(withSecret("first"));
  await eventually(() => texts(upstream).includes("later"));
  client.write(Buffer.concat([textFrame('{"t":"{token}"}'), textFrame('{"t":"{token}"}')]));
  for (const at of [1, 2]) {
    await eventually(() => answers.length === at + 1);
    answers[at]?.(withSecret(`number ${at}`));
  }
  await eventually(() => texts(upstream).length === 6);
  expect(texts(upstream)).toEqual([
    "before",
    '{"t":"first"}',
    "same chunk",
    "later",
    '{"t":"number 1"}',
    '{"t":"number 2"}',
  ]);
});

test.each([
  ["rejects", () => Promise.reject(new Error("the command failed"))],
  [
    "throws",
    () => {
      throw new Error("the command failed");
    },
  ],
])(
  "A message whose secret cannot be obtained (it %s) is not sent, and the WebSocket ends with 1011",
  async (_, get) => {
    const { client, upstream } = await openTunnel(get);
    client.write(Buffer.concat([textFrame("before"), textFrame('{"t":"{token}"}'), textFrame("after")]));
    await Promise.all([once(client, "end"), once(upstream, "end")]);
    expect(texts(upstream)).toEqual(["before"]);
    const [close] = readFrames(client.received);
    expect([close?.opcode, close?.payload.readUInt16BE(0)]).toEqual([8, 1011]);
  },
);

test("An upstream that does not read stops the reading of messages, and gets all of them when it reads again", async () => {
  const { client, upstream, near } = await openTunnel(() => withSecret("s"));
  const frame = textFrame("x".repeat(60_000));
  let received = 0;
  upstream.removeAllListeners("data").on("data", (chunk: Buffer) => {
    received += chunk.length;
  });
  upstream.pause();
  let sent = 0;
  await eventually(() => {
    for (let i = 0; i < 20; i++, sent++) client.write(frame);
    return client.writableLength > 20 * frame.length;
  });
  await eventually(() => near.client.isPaused());
  // The bytes of one read, at most.
  expect(near.upstream.writableLength).toBeLessThan(3 * 65_536);
  upstream.resume();
  await eventually(() => received === sent * frame.length, "all messages", 5_000);
});
