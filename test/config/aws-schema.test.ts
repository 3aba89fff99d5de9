/** The members of `auth` for type aws-sigv4: what is allowed, and what the message says about everything else. */
import { describe, expect, test } from "vitest";
import { problemsOf, services } from "./temp-folder.ts";

const AWS = {
  type: "aws-sigv4",
  region: "eu-central-1",
  service: "s3",
  accessKeyIdEnvVar: "KEY_ID",
  secretAccessKeyEnvVar: "SECRET",
};
const VARIABLES = { KEY_ID: "AKIDEXAMPLE", SECRET: "the/secret+access=key", WITH_SLASH: "AKID/EXAMPLE" };

const problems = (auth: object, more: object = {}) =>
  problemsOf(services({ x: { baseUrl: "https://s3.example.com/", auth: { ...AWS, ...auth }, ...more } }), VARIABLES);

describe("auth of type aws-sigv4", () => {
  test.each([
    {},
    { payload: "unsigned" },
    { payload: "signed", maxSignedBodyBytes: 1 },
    { sessionTokenEnvVar: "SECRET", required: false },
  ])("%j is allowed", async (auth) => {
    expect(await problems(auth)).toEqual([]);
  });

  test.each([
    [{ region: undefined }, "allowed: region for type aws-sigv4"],
    [{ service: undefined }, "allowed: service for type aws-sigv4"],
    [{ region: "eu/central" }, "x.auth.region: found a string, allowed: letters, digits"],
    [{ accessKeyIdFile: "f" }, "allowed: exactly one of accessKeyIdEnvVar and accessKeyIdFile"],
    [{ secretAccessKeyEnvVar: undefined }, "exactly one of secretAccessKeyEnvVar and secretAccessKeyFile"],
    [{ sessionTokenEnvVar: "T", sessionTokenFile: "f" }, "at most one of sessionTokenEnvVar and sessionTokenFile"],
    [{ payload: "hashed" }, "x.auth.payload: found a string, allowed: signed, unsigned"],
    [{ payload: "unsigned", maxSignedBodyBytes: 1 }, "maxSignedBodyBytes only with payload signed"],
    [{ maxSignedBodyBytes: 67_108_865 }, "x.auth.maxSignedBodyBytes"],
    [{ maxSignedBodyBytes: 0 }, "x.auth.maxSignedBodyBytes"],
    [{ tokenEnvVar: "SECRET" }, "only for type bearer, bot, basic, api-key"],
    [{ acessKeyIdEnvVar: "KEY_ID" }, 'did you mean "accessKeyIdEnvVar"?'],
    [{ accessKeyIdEnvVar: "WITH_SLASH" }, "allowed: an access key id without /, , and ="],
  ])("%j is refused with %s", async (auth, message) => {
    const found = await problems(auth);
    expect(found, found.join("\n")).toHaveLength(1);
    expect(found[0]).toContain(message);
  });

  test("A service that signs opens no WebSocket, and no configured header replaces one of the signature", async () => {
    expect(await problems({}, { ws: true })).toEqual([
      expect.stringContaining("false with a signature of each request"),
    ]);
    for (const name of ["x-amz-date", "X-Amz-Content-Sha256", "authorization"]) {
      expect(await problems({}, { setHeaders: { [name]: "x" } })).toEqual([expect.stringContaining("again, after")]);
    }
  });

  test("The members belong to no other type", async () => {
    const bearer = { ...AWS, type: "bearer", tokenEnvVar: "SECRET" };
    expect(
      (await problemsOf(services({ x: { baseUrl: "https://a.example/", auth: bearer } }), VARIABLES)).join(),
    ).toContain("only for type aws-sigv4");
  });
});
