/** Values of a pool's credentials that may be secrets: shown as a mask, and kept by a change that contains the mask. */
import { expect, test } from "vitest";
import { MASK, maskConfig, unmaskConfig } from "../../src/services/masked-config.ts";

const config = {
  baseUrl: "https://api.example.com/",
  auth: {
    type: "pool",
    of: [
      {
        type: "custom",
        secrets: { t: { envVar: "T" } },
        query: { key: "{t}", app: "a-fixed-value-that-may-be-secret" },
      },
      {
        type: "custom",
        secrets: { t: { command: ["vault", "read", "x"] } },
        query: { key: "{t}", app: "another-fixed-value" },
      },
    ],
  },
};

test("Fixed values and arguments of programs are masked in each credential of a pool", () => {
  expect(maskConfig(config)).toMatchObject({
    auth: {
      of: [
        { query: { key: "{t}", app: MASK } },
        { secrets: { t: { command: ["vault", MASK, MASK] } }, query: { key: "{t}", app: MASK } },
      ],
    },
  });
});

test("A mask in a credential of a pool stands for the value at the same place, and a new one for none", () => {
  const { secrets: _, ...second } = config.auth.of[1] as object & { secrets: unknown };
  const masked = maskConfig({ ...config, auth: { ...config.auth, of: [config.auth.of[0], second] } });
  const before = { ...config, auth: { ...config.auth, of: [config.auth.of[0], second] } };
  expect(unmaskConfig(masked, before, true)).toEqual({ config: before });
  expect(unmaskConfig(masked, undefined, true)).toEqual({ missing: "auth.of.0.query.app" });
});
