/** What of a client's path and subprotocols stands in the place of the credential. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { authSchema } from "../../../src/config/auth-schema.ts";
import { placementsOf } from "../../../src/config/placements.ts";
import { describePlaces } from "../../../src/data-plane/credential/fill-places.ts";
import { createPlacePlan, findOwnPath, readSubprotocols } from "../../../src/data-plane/credential/place-plan.ts";

const KEY = "bp_a-key-of-the-gateway-0123";
const isKey = (text: string) => text === KEY;

function planOf(places: object) {
  const auth = authSchema.parse({ type: "custom", secrets: { t: { envVar: "T" } }, ...places });
  const plan = createPlacePlan(describePlaces(placementsOf(auth)));
  if (plan === undefined) throw new Error("no plan");
  return plan;
}

describe("A client's path", () => {
  test.each([
    ["/bot{t}", "/botplaceholder/x", 15],
    ["/bot{t}", `/bot${KEY}`, 4 + KEY.length],
    ["/bot{t}", `/bot${KEY.replace("_", "%5F")}/x`, 6 + KEY.length],
    ["/bot{t}", "/bottleneck", undefined],
    ["/bot{t}", "/bot", undefined],
    ["/bot{t}", "", undefined],
    ["/bot{t}", "/bot/placeholder", undefined],
    ["/bot{t}", "//botplaceholder", undefined],
    ["/bot{t}", "/bot%zz", undefined],
    ["/a/{t}/c", "/a/placeholder/c/d", 16],
    ["/a/{t}/c", "/a/placeholder/d", undefined],
    ["/a/{t}/c", "/a/placeholder", undefined],
    ["/{t|base64}", `/${Buffer.from(KEY).toString("base64")}/x`, 1 + Buffer.from(KEY).toString("base64").length],
  ])("For %s the text of %s that is replaced has the length %j", (path, text, length) => {
    expect(findOwnPath(planOf({ path }), text, isKey)?.length).toBe(length);
  });

  test("The first template that matches is used", () => {
    const plan = planOf({ path: ["/bot{t}", "/file/bot{t}", "/{t}"] });
    const templateOf = (path: string) => findOwnPath(plan, path, isKey)?.template;
    expect(["/botplaceholder", "/file/botplaceholder/x", "/placeholder", "/x"].map(templateOf)).toEqual([
      0,
      1,
      2,
      undefined,
    ]);
  });

  test("No path without a key or the word is cut, and no text makes it throw", () => {
    const plan = planOf({ path: ["/bot{t}", "/{t}/x", "/{t|base64}"] });
    fc.assert(
      fc.property(fc.string(), (text) => {
        fc.pre(!text.includes("placeholder"));
        expect(findOwnPath(plan, `/${text}`, isKey)).toBeUndefined();
      }),
    );
  });
});

describe("A client's subprotocols", () => {
  test.each([
    ["key.{t}", undefined, [], 0, undefined],
    ["key.{t}", "a, b", ["a", "b"], 2, undefined],
    ["key.{t}", "a,key.anything , b", ["a", "b"], 1, "key.anything"],
    ["key.{t}", "key.x, a, key.y", ["a"], 0, "key.x"],
    ["key.{t}", `a, other.${KEY}`, ["a"], 1, undefined],
    ["key.{t}", `a, ${KEY}`, ["a"], 1, undefined],
    ["{t}", `a, ${KEY}, b`, ["a", "b"], 1, KEY],
    ["{t}", "a, b", ["a", "b"], 2, undefined],
  ])("For %s the header %j leaves %j", (subprotocol, header, kept, at, replaced) => {
    const { subprotocol: template } = planOf({ subprotocol });
    if (template === undefined) throw new Error("no template");
    expect(readSubprotocols(template, header, isKey)).toEqual({ kept, at, replaced, injected: "" });
  });
});
