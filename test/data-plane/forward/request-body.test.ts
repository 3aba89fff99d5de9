/** A body that is collected before it is sent. */
import type { IncomingMessage } from "node:http";
import { PassThrough } from "node:stream";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import { RequestBody } from "../../../src/data-plane/forward/request-body.ts";
import { eventually } from "../../support/eventually.ts";

const SIZE = 65_000;

test("A body that arrives byte by byte is collected whole, and needs little more memory than its bytes", async () => {
  setFlagsFromString("--expose-gc");
  const collectGarbage = runInNewContext("gc") as () => void;
  const client = new PassThrough();
  let received = 0;
  const body = new RequestBody(client as unknown as IncomingMessage, () => {
    received++;
  });
  const collected = body.collect();
  collectGarbage();
  const before = process.memoryUsage().heapUsed;
  for (let at = 0; at < SIZE; at++) client.write(Buffer.of(97 + (at % 26)));
  await eventually(() => received === SIZE, "all bytes");
  collectGarbage();
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(2_000_000);
  client.end();
  const expected = Buffer.from(Array.from({ length: SIZE }, (_, at) => 97 + (at % 26)));
  expect((await collected).equals(expected)).toBe(true);
});
