/** The client's body before it is read: what ended it earlier is not lost. */
import { IncomingMessage } from "node:http";
import { Socket } from "node:net";
import { expect, test } from "vitest";
import { RequestBody } from "../../../src/data-plane/forward/request-body.ts";

test("A body that was canceled before it is collected is refused at once with the reason", async () => {
  const body = new RequestBody(new IncomingMessage(new Socket()), () => {});
  const reason = new Error("malformed");
  body.cancel(reason);
  await expect(body.collect()).rejects.toBe(reason);
});

test("A body that is canceled while it is collected is refused with the reason", async () => {
  const body = new RequestBody(new IncomingMessage(new Socket()), () => {});
  const reason = new Error("too large");
  const collected = body.collect();
  body.cancel(reason);
  await expect(collected).rejects.toBe(reason);
});
