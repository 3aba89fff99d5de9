/** The cache beside a slow and obvious one: any sequence of requests, changes and time has the same responses. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { startCachedApi } from "../support/cached-api.ts";

interface Policy {
  readonly control: string;
  /** s */
  readonly lifetime: number;
  readonly hasTag: boolean;
  readonly isStored: boolean;
  readonly alwaysAsks?: boolean;
  readonly neverStale?: boolean;
}

const POLICIES: Readonly<Record<string, Policy>> = {
  "/ten": { control: "max-age=10", lifetime: 10, hasTag: true, isStored: true },
  "/untagged": { control: "max-age=20", lifetime: 20, hasTag: false, isStored: true },
  "/strict": { control: "max-age=10, must-revalidate", lifetime: 10, hasTag: true, isStored: true, neverStale: true },
  "/asks": { control: "max-age=30, no-cache", lifetime: 30, hasTag: true, isStored: true, alwaysAsks: true },
  "/tagged": { control: "", lifetime: 0, hasTag: true, isStored: true },
  "/never": { control: "no-store, max-age=30", lifetime: 30, hasTag: true, isStored: false },
};
const paths = fc.constantFrom(...Object.keys(POLICIES));

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("get" as const),
      path: paths,
      directive: fc.constantFrom("", "", "", "no-cache", "max-age=5", "min-fresh=5", "max-stale=8", "only-if-cached"),
      knows: fc.constantFrom(false, false, true),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("wait" as const), seconds: fc.integer({ min: 1, max: 12 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("change" as const), path: paths }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("post" as const), path: paths }) },
);

/** Decides as a person with RFC 9111 would: one list of what is stored, and no keys, sizes or streams. */
class ObviousCache {
  now = 0;
  readonly versions = new Map(Object.keys(POLICIES).map((path) => [path, 1]));
  readonly stored = new Map<string, { version: number; at: number }>();

  get(path: string, directive: string, knownVersion: number | undefined): string {
    const policy = POLICIES[path] as Policy;
    const current = this.versions.get(path) as number;
    const [name, value = "0"] = directive.split("=");
    const number = Number(value);
    const entry = this.stored.get(path);
    const age = entry === undefined ? 0 : this.now - entry.at;
    const left = policy.lifetime - age;
    let isUsable = entry !== undefined && !policy.alwaysAsks && name !== "no-cache";
    if (name === "max-age" && age > number) isUsable = false;
    if (left <= 0 && !(name === "max-stale" && !policy.neverStale && -left <= number)) isUsable = false;
    if (name === "min-fresh" && left < number) isUsable = false;
    if (entry !== undefined && isUsable) {
      return this.#respond(left > 0 ? "hit" : "stale", policy, entry.version, knownVersion);
    }
    if (name === "only-if-cached") return "504";
    if (entry !== undefined && policy.hasTag && entry.version === current) {
      entry.at = this.now;
      return this.#respond("revalidated", policy, current, knownVersion);
    }
    // Without an entry the client's own condition is sent, and its 304 is not stored.
    if (entry === undefined && policy.hasTag && knownVersion === current) return "miss 304";
    this.stored.delete(path);
    if (policy.isStored) this.stored.set(path, { version: current, at: this.now });
    return `miss 200 ${current}`;
  }

  #respond(state: string, { hasTag }: Policy, version: number, knownVersion: number | undefined): string {
    return hasTag && knownVersion === version ? `${state} 304` : `${state} 200 ${version}`;
  }
}

test("Any sequence of requests, changes and time has the responses of an obvious cache", async () => {
  const api = await startCachedApi();
  let model = new ObviousCache();
  let run = 0;
  api.respond = (req, res) => {
    const path = (req.url as string).replace(/\?.*/, "");
    const { control, hasTag } = POLICIES[path] as Policy;
    if (req.method === "POST") return void res.writeHead(204).end();
    const version = model.versions.get(path);
    const tag = `"${run}-${version}"`;
    if (control !== "") res.setHeader("cache-control", control);
    if (hasTag) res.setHeader("etag", tag);
    if (hasTag && req.headers["if-none-match"] === tag) res.writeHead(304).end();
    else res.end(String(version));
  };
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 25 }), async (steps) => {
      model = new ObviousCache();
      run++;
      for (const each of steps) {
        if (each.do === "wait") {
          model.now += each.seconds;
          api.clock.now += each.seconds * 1_000;
        } else if (each.do === "change") model.versions.set(each.path, (model.versions.get(each.path) as number) + 1);
        else if (each.do === "post") {
          model.stored.delete(each.path);
          await api.ask(`/proxy/api${each.path}?${run}`, { "content-length": "1" }, "POST", "x");
        } else {
          const version = model.versions.get(each.path) as number;
          const headers: Record<string, string> = {};
          if (each.directive !== "") headers["cache-control"] = each.directive;
          if (each.knows) headers["if-none-match"] = `"${run}-${version}"`;
          const expected = model.get(each.path, each.directive, each.knows ? version : undefined);
          const { status, body, cache } = await api.ask(`/proxy/api${each.path}?${run}`, headers);
          const received = status === 504 ? "504" : `${cache} ${status}${status === 304 ? "" : ` ${body}`}`;
          expect(received).toBe(expected);
        }
      }
    }),
    { numRuns: 30, seed: 9111 },
  );
});
