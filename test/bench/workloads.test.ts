/** The benchmark's clients compare every byte: a relay that changes, mixes or adds bytes must not be measured. */
import { describe, expect, test } from "vitest";
import { createBody, createDocument, createEvents, createItem, createMessage } from "../../bench/workloads/contents.ts";
import type { Client, Workload } from "../../bench/workloads/workload.ts";
import { workloads } from "../../bench/workloads/workloads.ts";

const UNITS = 3;
const events = createEvents();

/** What a contestant sends for one unit of the first connection: the framing, and the contents. */
interface Unit {
  readonly framing: Buffer;
  readonly contents: Buffer;
  readonly end: Buffer;
}

function framed(framing: string | Buffer, contents: Buffer, end = ""): Unit {
  return { framing: Buffer.from(framing), contents, end: Buffer.from(end) };
}

function exchange(body: Buffer): Unit {
  return framed(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`, body);
}

function event(number: number): Unit {
  const contents = events[number]!;
  const head = number === 0 ? "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" : "";
  return framed(`${head}${contents.length.toString(16)}\r\n`, contents, "\r\n");
}

function message(number: number): Unit {
  const contents = createMessage(number);
  return framed(Buffer.from([0x81, contents.length]), contents);
}

const units: Record<string, (number: number) => Unit> = {
  get: (number) => exchange(createItem(number)),
  "https-get": (number) => exchange(createItem(number)),
  tls: (number) => exchange(createItem(number)),
  cached: (number) => exchange(createItem(number)),
  post: (number) => exchange(createBody(number)),
  scrub: (number) => exchange(createDocument(number)),
  sse: event,
  websocket: message,
};

function bytesOf({ framing, contents, end }: Unit): Buffer {
  return Buffer.concat([framing, contents, end]);
}

/** A client after its request, and for a WebSocket after the handshake. */
function openClient(workload: Workload): { client: Client; count: () => number } {
  let complete = 0;
  const client = workload.prepare({ port: 1, prefix: "", apiKey: "key" })(0, {
    send: () => {},
    requestEvent: () => {},
    onUnit: () => ++complete < UNITS,
  });
  client.start();
  if (workload.name === "websocket") client.onData(Buffer.from("HTTP/1.1 101 Switching Protocols\r\n\r\n"));
  return { client, count: () => complete };
}

describe.each(workloads)("Workload $name", (workload) => {
  const unit = units[workload.name]!;

  test.each([1, 7, 1 << 20])("counts each complete unit that arrives in pieces of %i bytes", (pieceBytes) => {
    const { client, count } = openClient(workload);
    for (let number = 0; number < UNITS; number++) {
      expect(count()).toBe(number);
      const bytes = bytesOf(unit(number));
      for (let at = 0; at < bytes.length; at += pieceBytes) client.onData(bytes.subarray(at, at + pieceBytes));
    }
    expect(count()).toBe(UNITS);
  });

  test("fails at one wrong byte, wherever it is", () => {
    const { framing, contents, end } = unit(0);
    const step = Math.ceil(contents.length / 100);
    for (let at = 0; at < contents.length; at += step) {
      const wrong = Buffer.from(contents);
      wrong[at]! ^= 1;
      const { client, count } = openClient(workload);
      expect(() => client.onData(Buffer.concat([framing, wrong, end]))).toThrow(/^wrong bytes from/);
      expect(count()).toBe(0);
    }
  });

  test("fails at the contents of another unit", () => {
    const { client } = openClient(workload);
    const [first, second] = [unit(0), unit(1)];
    expect(() => client.onData(bytesOf({ ...first, contents: second.contents }))).toThrow(/^wrong bytes from/);
  });

  test("fails at bytes that nothing asked for", () => {
    const { client, count } = openClient(workload);
    for (let number = 0; number < UNITS - 1; number++) client.onData(bytesOf(unit(number)));
    const [last, more] = [bytesOf(unit(UNITS - 1)), bytesOf(unit(UNITS))];
    expect(() => client.onData(Buffer.concat([last, more]))).toThrow(/more than expected|not requested/);
    expect(count()).toBeLessThanOrEqual(UNITS);
  });
});
