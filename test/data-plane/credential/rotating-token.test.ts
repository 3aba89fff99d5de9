/** Which refresh tokens are stored, and which are discarded. */
import { expect, test } from "vitest";
import { RotatingToken } from "../../../src/data-plane/credential/rotating-token.ts";
import { createRecords } from "../../../src/stores/records.ts";
import type { StoredRefreshToken } from "../../../src/stores/stored-refresh-token.ts";

function open(used: readonly string[] = []) {
  const records = createRecords<StoredRefreshToken>();
  const bind = (id: string, service = "api") =>
    new RotatingToken(records, {
      ...{ id, service, configured: "configured" },
      isUsed: (other) => used.includes(other),
      admitSecrets() {},
    });
  return { records, bind };
}

test("The stored token is used instead of the configured one, also by the next process", async () => {
  const { bind } = open();
  const token = bind("one");
  expect(token.current).toBe("configured");
  await token.rotate("rotated");
  expect(token.current).toBe("rotated");
  expect(bind("one").current).toBe("rotated");
});

test("A change of the binding discards the service's token, and no token of another service", async () => {
  const { records, bind } = open();
  await bind("one").rotate("first");
  await bind("other", "other").rotate("kept");
  const changed = bind("two");
  expect(changed.current).toBe("configured");
  await changed.rotate("second");
  expect([...records.entries.keys()].sort()).toEqual(["other", "two"]);
});

test("A token that another service with the same binding uses is kept", async () => {
  const { records, bind } = open(["one"]);
  await bind("one").rotate("first");
  await bind("two").rotate("second");
  expect([...records.entries.keys()].sort()).toEqual(["one", "two"]);
});
