/** Secrets in their places: no secret ends its place, and the log's mask finds each of them as it is sent. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { authSchema } from "../../../src/config/auth-schema.ts";
import { placementsOf } from "../../../src/config/placements.ts";
import { describePlaces, fillPlaces } from "../../../src/data-plane/credential/fill-places.ts";
import { createSecretMask } from "../../../src/telemetry/redact.ts";

const auth = authSchema.parse({
  type: "custom",
  secrets: { t: { envVar: "T" }, u: { envVar: "U" } },
  headers: { Authorization: 'Custom a="{u}", b="{t|base64}"' },
  query: { q: "{t}", b: "k={t|base64}" },
  path: ["/bot{t}/x", "/{t|base64}"],
  form: { "a field": "{t}", b: "{t|base64}" },
  subprotocol: "key.{t|base64}",
});
const placements = placementsOf(auth);

/** What a variable or a file may hold: well-formed Unicode without control characters. */
const secret = fc
  .string({ unit: "grapheme", minLength: 8, maxLength: 40 })
  .filter((text) => !/[\x00-\x1f\x7f]/.test(text) && text.trim() !== "");

describe("A filled place", () => {
  test("Every secret is read back as it was, by the decoder of its place", () => {
    fc.assert(
      fc.property(secret, (text) => {
        const { headers, query, paths, form, subprotocol } = fillPlaces(
          placements,
          new Map([
            ["t", text],
            ["u", "id"],
          ]),
        );
        const base64 = Buffer.from(text, "utf8").toString("base64");
        expect(headers).toEqual(["Authorization", `Custom a="id", b="${base64}"`]);
        expect([...new URLSearchParams(query)]).toEqual([
          ["q", text],
          ["b", `k=${base64}`],
        ]);
        expect([...new URLSearchParams(form)]).toEqual([
          ["a field", text],
          ["b", base64],
        ]);
        const [first = "", second = ""] = paths;
        expect(first.split("/").map(decodeURIComponent)).toEqual(["", `bot${text}`, "x"]);
        expect(second.split("/").map(decodeURIComponent)).toEqual(["", base64]);
        // RFC 3986 section 3.3, RFC 9110 section 5.6.2.
        for (const path of paths) expect(path).toMatch(/^(?:\/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-F]{2})+)+$/);
        expect(subprotocol).toMatch(/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/);
        expect(Buffer.from(subprotocol.slice("key.".length), "base64url").toString("utf8")).toBe(text);
      }),
    );
  });

  test("The mask of the log finds every secret in the form in which it is sent", () => {
    fc.assert(
      fc.property(secret, (text) => {
        const { headers, query, paths, form, subprotocol } = fillPlaces(
          placements,
          new Map([
            ["t", text],
            ["u", "id"],
          ]),
        );
        const mask = createSecretMask([text]);
        expect(mask(headers[1] as string)).toBe('Custom a="id", b="***"');
        expect(mask(`?${query}`)).toBe("?q=***&b=k%3D***");
        expect(mask(form)).toBe("a+field=***&b=***");
        expect(paths.map(mask)).toEqual(["/bot***/x", "/***"]);
        expect(mask(subprotocol)).toBe("key.***");
      }),
    );
  });

  test.each([
    [{ type: "bearer", tokenEnvVar: "T" }, [["header", "Authorization", "Bearer ", "", "plain"]]],
    [{ type: "bot", tokenEnvVar: "T" }, [["header", "Authorization", "Bot ", "", "plain"]]],
    [{ type: "basic", tokenEnvVar: "T" }, [["header", "Authorization", "Basic ", "", "basic"]]],
    [{ type: "api-key", headerName: "X", tokenEnvVar: "T" }, [["header", "X", "", "", "plain"]]],
    [{ type: "api-key", headerName: "X", scheme: "Token", tokenEnvVar: "T" }, [["header", "X", "Token ", "", "plain"]]],
    [
      { type: "api-key", headerName: "X", scheme: "token=", tokenEnvVar: "T" },
      [["header", "X", "token=", "", "plain"]],
    ],
    [{ type: "api-key", queryParam: "k", tokenEnvVar: "T" }, [["query", "k", "", "", "plain"]]],
    [
      { type: "custom", secrets: { t: { envVar: "T" } }, path: "/bot{t}", subprotocol: "k.{t|base64}.v1" },
      [
        ["path", "", "/bot", "", "plain"],
        ["subprotocol", "", "k.", ".v1", "base64"],
      ],
    ],
  ])("The places of %j are described by the text around the secret", (definition, places) => {
    const found = describePlaces(placementsOf(authSchema.parse(definition)));
    expect(found.map(({ kind, name, before, after, encoding }) => [kind, name, before, after, encoding])).toEqual(
      places,
    );
  });
});
