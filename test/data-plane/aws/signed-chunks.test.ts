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

test.each([
  ["without trailers", "\r\n"],
  ["without an empty line at the end", ""],
  ["with trailers", "x-amz-checksum-crc32:AAAAAA==\r\nx-amz-trailer-signature:0\r\n\r\n"],
  // https://github.com/minio/minio-go
  ["as minio-go ends trailers", "x-amz-checksum-crc32c:sOO8/Q==\n\r\nx-amz-trailer-signature:0\r\n\r\n"],
  ["with two of them", "x-amz-a:1\nx-amz-b:2\n\r\nx-amz-trailer-signature:0\r\n\r\n"],
])("A body ends %s, however it is cut", (_, end) => {
  const body = Buffer.from(`3;chunk-signature=0\r\nabc\r\n0;chunk-signature=0\r\n${end}`);
  for (let size = 1; size <= body.length; size++) {
    const chunks = new SignedChunks(3);
    const parts: Buffer[] = [];
    for (let at = 0; at < body.length; at += size) parts.push(...chunks.push(body.subarray(at, at + size)));
    expect(Buffer.concat([...parts, chunks.end()]).toString()).toBe("abc");
  }
});

test("Nothing follows the empty line after the trailers, and the last byte waits for it", () => {
  const chunks = new SignedChunks(3);
  expect(Buffer.concat([...chunks.push(Buffer.from("3\r\nabc\r\n0\r\na:1\n\r\nb:2\r\n\r\n"))]).toString()).toBe("ab");
  expect(() => chunks.push(Buffer.from("c"))).toThrow("bytes after the last chunk");
});
