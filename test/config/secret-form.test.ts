import { expect, test } from "vitest";
import { authSchema } from "../../src/config/auth-schema.ts";
import { readSecretForm } from "../../src/config/secret-form.ts";

test("A second scheme is removed, and a secret that begins with the letters of its scheme stays whole", () => {
  const cases: readonly (readonly [scheme: string, written: string, sent: string])[] = [
    ["Splunk ", "Splunk 0b1e", "0b1e"],
    ["Splunk ", "splunk  Splunk 0b1e", "0b1e"],
    ["Splunk ", "SPLUNK_0b1e", "SPLUNK_0b1e"],
    ["Splunk ", "splunk0b1e", "splunk0b1e"],
    ["Splunk ", "Splunk", ""],
    ["Token token=", "Token token=0b1e", "0b1e"],
    ["Token token=", "token=0b1e", "token=0b1e"],
    ["Token ", "Token 0b1e", "0b1e"],
    ["Token ", "tokenised", "tokenised"],
  ];
  for (const [scheme, written, sent] of cases) {
    const auth = authSchema.parse({ type: "api-key", headerName: "Authorization", scheme, tokenEnvVar: "SECRET" });
    expect([scheme, written, readSecretForm(written, auth, "token").text]).toEqual([scheme, written, sent]);
  }
});
