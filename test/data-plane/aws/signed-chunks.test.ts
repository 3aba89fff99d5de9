/** Bodies in signed chunks. */
import { expect, test } from "vitest";
import { SignedChunks } from "../../../src/data-plane/aws/signed-chunks.ts";

test("Chunks of one byte are passed on in few buffers", () => {
  const count = 10_000;
  const chunks = new SignedChunks(count);
  const parts = chunks.push(Buffer.from(`${"1\r\nX\r\n".repeat(count)}0\r\n\r\n`));
  expect(parts.length).toBeLessThan(20);
  expect(Buffer.concat([...parts, chunks.end()]).toString()).toBe("X".repeat(count));
});
