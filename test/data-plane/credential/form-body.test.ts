/** The client's form without the fields of a credential, compared with the parser of the URL standard. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { withoutFields } from "../../../src/data-plane/credential/form-body.ts";

const FIELDS = ["token", "client id", "a&b", "a=b", "a+b", "%", "x%41", "[k]"];

/** As each of several clients would write a name: raw where that is possible, with `+`, in hex of either case. */
function spell(text: string, ways: readonly number[]): string {
  return [...text]
    .map((character, i) => {
      const way = ways[i % ways.length];
      const hex = character.charCodeAt(0).toString(16).padStart(2, "0");
      if (way === 0 && /[A-Za-z0-9._~-]/.test(character)) return character;
      if (way !== 2 && character === " ") return "+";
      return `%${way === 2 ? hex.toUpperCase() : hex}`;
    })
    .join("");
}

const name = fc.oneof(fc.constantFrom(...FIELDS), fc.stringMatching(/^[a-z ]{0,6}$/));
const ways = fc.array(fc.nat(2), { minLength: 1, maxLength: 5 });
const pair = fc.oneof(
  fc.tuple(name, ways, fc.string({ maxLength: 5 })).map(([each, how, value]) => {
    return `${spell(each, how)}=${encodeURIComponent(value)}`;
  }),
  fc.constantFrom("", "=", "token", "%zz=1", "&&", "client+id", "token%"),
  fc.string({ unit: "binary-ascii", maxLength: 8 }),
);

/** A question mark at the beginning would be dropped, so that none is there. */
const pairsOf = (body: string) => [...new URLSearchParams(`&${body}`)];

test("A field is removed in every spelling, and all other fields keep their order and values", () => {
  fc.assert(
    fc.property(fc.array(pair, { maxLength: 6 }), fc.subarray(FIELDS, { minLength: 1 }), (pairs, formFields) => {
      const body = pairs.join("&");
      const plan = { formFields, paths: [], segments: [], subprotocol: undefined };
      const rest = withoutFields(Buffer.from(body, "latin1"), plan).toString("latin1");
      expect(pairsOf(rest)).toEqual(pairsOf(body).filter(([each]) => !formFields.includes(each)));
    }),
    { seed: 20261129, numRuns: Number(process.env.FUZZ_CASES ?? 2_000) },
  );
});
