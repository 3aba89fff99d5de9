/** Confirmed changes survive every end of the process, and an unreadable state stops the start. */
import { chmodSync, existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { MANAGEMENT_KEY } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { startProcess } from "../support/process.ts";

const ENV = { MANAGEMENT_API_KEY: MANAGEMENT_KEY };
const configOf = (value: number) => ({ baseUrl: "https://api.example.com/", timeoutMs: value });

describe("process killed during a write", () => {
  // Five kills, each during four changes: some 250 writes to twenty services in total. test/stores/faults.test.ts kills at each step of a write.
  test("A killed process leaves every confirmed change and no partial one", async () => {
    /** The state that each service must have, or may have where no response came. */
    const acknowledged = new Map<string, number | undefined>();
    let data: string | undefined;
    let written = 0;
    let value = 0;
    for (let round = 0; round < 5; round++) {
      const run = startProcess({ ...ENV, ...(data === undefined ? {} : { DATA_DIR: data }) });
      data ??= join(run.directory, "data");
      const gateway = { url: `http://127.0.0.1:${await run.port()}` };
      const { body } = await manage(gateway, "GET", "/services");
      const found = new Map<string, number>(
        body.services
          .filter(({ source }: { source: string }) => source === "runtime")
          .map(({ key, config }: { key: string; config: { timeoutMs: number } }) => [key, config.timeoutMs]),
      );
      expect(found).toEqual(acknowledged);

      const pending = new Map<string, number | undefined>();
      let isKilled = false;
      let left = 5 + round * 18;
      const write = async (worker: number) => {
        for (let i = 0; !isKilled; i++) {
          const key = `s${worker}-${i % 5}`;
          value += 1;
          const next = i % 7 === 6 ? undefined : value;
          pending.set(key, next);
          const sent =
            next === undefined
              ? manage(gateway, "DELETE", `/services/${key}`)
              : manage(gateway, "PUT", `/services/${key}`, configOf(next));
          const response = await sent.catch(() => undefined);
          if (response === undefined) return;
          expect([200, 201, 204, 404]).toContain(response.status);
          pending.delete(key);
          if (next === undefined) acknowledged.delete(key);
          else acknowledged.set(key, next);
          written += 1;
          left -= 1;
          // During the changes of the three others.
          if (left === 0) run.child.kill("SIGKILL");
        }
      };
      const workers = [0, 1, 2, 3].map(write);
      await run.ended;
      isKilled = true;
      await Promise.all(workers);
      // A change in progress may have been written or not: the file must contain one of the two states.
      const { entries } = JSON.parse(
        existsSync(join(data, "services.json")) ? readFileSync(join(data, "services.json"), "utf8") : '{"entries":{}}',
      );
      for (const [key, next] of pending) {
        const there = entries[key]?.value.config.timeoutMs as number | undefined;
        expect([acknowledged.get(key), next]).toContain(there);
        if (there === undefined) acknowledged.delete(key);
        else acknowledged.set(key, there);
      }
    }
    expect(written).toBeGreaterThan(200);
  }, 60_000);
});

describe("unreadable state", () => {
  test.each([
    [
      "services.json",
      '{"format":1,"revision":3,"entries":{\n"api":{"va',
      /services\.json cannot be used: it is not JSON, or only a part of it; put back a copy/,
    ],
    ["services.json", "", /services\.json cannot be used: it is empty/],
    ["services.json", '{"format":9}', /a newer version of the gateway wrote it/],
    ["installation-key", "short", /installation-key cannot be used: it does not contain 64 hex digits/],
  ])(
    "The file %s with the content %j stops the start with exit code 1 and one line, and is not changed",
    async (name, text, words) => {
      const first = startProcess(ENV);
      await first.port();
      const data = join(first.directory, "data");
      first.child.kill("SIGKILL");
      await first.ended;
      writeFileSync(join(data, name), text);
      const second = startProcess({ ...ENV, DATA_DIR: data });
      expect(await second.ended).toBe(1);
      expect(second.err()).toMatch(words);
      expect(second.err().trim().split("\n")).toHaveLength(1);
      expect(readFileSync(join(data, name), "utf8")).toBe(text);
    },
  );

  test("A stored service that is no longer valid stops the start with exit code 2 and the field", async () => {
    const entries = { api: { value: { config: { baseUrl: "ftp://x" } }, version: 1 } };
    const first = startProcess(ENV);
    await first.port();
    const data = join(first.directory, "data");
    first.child.kill("SIGTERM");
    expect(await first.ended).toBe(0);
    writeFileSync(join(data, "services.json"), JSON.stringify({ format: 1, revision: 1, entries }));
    const second = startProcess({ ...ENV, DATA_DIR: data });
    expect(await second.ended).toBe(2);
    expect(second.err()).toMatch(/^services\.api\.baseUrl \(added over REST\): found "ftp:\/\/x", allowed: .*\n$/);
  });
});

test("A folder that every user may write stops the start with exit code 1, and one that its group may write becomes private", async () => {
  const first = startProcess(ENV);
  await first.port();
  const data = join(first.directory, "data");
  first.child.kill("SIGTERM");
  await first.ended;
  chmodSync(data, 0o777);
  const second = startProcess({ ...ENV, DATA_DIR: data });
  expect(await second.ended).toBe(1);
  expect(second.err()).toMatch(
    /^DATA_DIR \S+ can be written by every user \(mode 0777\), .* run chmod 700 on it, or [^\n]+\n$/,
  );
  chmodSync(data, 0o770);
  chmodSync(join(data, "installation-key"), 0o660);
  const third = startProcess({ ...ENV, DATA_DIR: data });
  await third.port();
  expect(third.out()).toMatch(/DATA_DIR \S+ could be written by its group \(mode 0770\); its mode is 0700 now/);
  expect(third.out()).toMatch(
    /The file \S+installation-key could be written by its group \(mode 0660\); its mode is 0600 now/,
  );
  expect(statSync(data).mode & 0o777).toBe(0o700);
  for (const name of ["installation-key", "lock"]) expect(statSync(join(data, name)).mode & 0o777).toBe(0o600);
}, 20_000);

test("The folder has mode 0700 and each file in it 0600", async () => {
  const run = startProcess(ENV);
  const gateway = { url: `http://127.0.0.1:${await run.port()}` };
  await manage(gateway, "PUT", "/services/api", configOf(1));
  const data = join(run.directory, "data");
  expect(statSync(data).mode & 0o777).toBe(0o700);
  for (const name of ["services.json", "audit.jsonl", "installation-key"]) {
    expect(statSync(join(data, name)).mode & 0o777, name).toBe(0o600);
  }
});
