/** Which headers are removed, for any number of header names that callers invent. */
import { expect, test } from "vitest";
import { serviceSchema } from "../../../src/config/schema.ts";
import { createStripPlan } from "../../../src/data-plane/forward/strip-plan.ts";

function plan() {
  const service = serviceSchema.parse({ baseUrl: "https://api.test", removeHeaders: ["X-Inner"] });
  return createStripPlan(service as never, [{ kind: "header", name: "X-Token" }]);
}

test.each([
  ["Accept", "accept"],
  ["ACCEPT-Language", "accept-language"],
  ["x_custom", "x_custom"],
  ["X-Forwarded", "x-forwarded"],
  ["Authorization", ""],
  ["x-api-KEY", ""],
  ["X_Api_Key", ""],
  ["_Authorization_", ""],
  ["X-Forwarded-For", ""],
  ["X_Forwarded_Anything", ""],
  ["Connection", ""],
  ["Cookie", ""],
  ["X-Inner", ""],
  ["x_inner", ""],
  ["X-Token", ""],
  ["__proto__", "__proto__"],
  ["constructor", "constructor"],
])("%s is forwarded as %j, at the first and at the second lookup", (name, forwarded) => {
  const stripPlan = plan();
  expect([stripPlan.forwardedAs(name), stripPlan.forwardedAs(name)]).toEqual([forwarded, forwarded]);
});

test.each([
  ["standard-webhooks", ["Webhook_Id", "webhook_signature", "svix_timestamp", "SVIX-ID_"]],
  ["github", ["X_Hub_Signature_256"]],
  ["hmac", ["X_Sig", "X_SIG_"]],
] as const)("A twin of a header of the signature is not forwarded, and the header is: %s", (scheme, twins) => {
  const service = serviceSchema.parse({
    baseUrl: "https://api.test",
    access: "signature",
    verify: { scheme, secretEnvVar: "S", ...(scheme === "hmac" ? { header: "X-Sig" } : {}) },
  });
  const stripPlan = createStripPlan(service as never, []);
  expect(twins.map(stripPlan.forwardedAs)).toEqual(twins.map(() => ""));
  expect(["Webhook-Id", "X-Hub-Signature-256", "X-Sig"].map(stripPlan.forwardedAs)).not.toContain("");
});

test("A caller that invents any number of header names changes nothing for later requests", () => {
  const stripPlan = plan();
  for (let i = 0; i < 10_000; i++) expect(stripPlan.forwardedAs(`X-Made-Up-${i}`)).toBe(`x-made-up-${i}`);
  expect(stripPlan.forwardedAs(`X-${"long".repeat(1_000)}`)).toBe(`x-${"long".repeat(1_000)}`);
  expect(["X-API-Key", "Accept", "Via"].map(stripPlan.forwardedAs)).toEqual(["", "accept", ""]);
});
