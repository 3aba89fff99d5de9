/** Variables with a name close to one of the gateway's: a warning, or the end of the start where a key would protect nothing. */
import { expect, test } from "vitest";
import { reviewVariables } from "../../src/config/known-variables.ts";
import { COMMON_VARIABLES } from "./common-variables.ts";
import { KEY, load, OTHER_KEY, problemsOf } from "./temp-folder.ts";

const KEYS = { PROXY_API_KEY: KEY, MANAGEMENT_API_KEY: OTHER_KEY };

test.each([
  ["LOGLEVEL", "LOG_LEVEL"],
  ["LOG_LEVLE", "LOG_LEVEL"],
  ["CORS_ORIGIN", "CORS_ORIGINS"],
  ["ALLOWED_HOST", "ALLOWED_HOSTS"],
  ["TRUST_PROXIES", undefined],
  ["PORTT", "PORT"],
  ["PROT", undefined],
  ["HOME", undefined],
  ["HOTS", undefined],
  ["DATA_DIRS", "DATA_DIR"],
  ["DATA_DRI", undefined],
  ["proxy_api_key", "PROXY_API_KEY"],
  ["TLS_CERT_FIEL", "TLS_CERT_FILE"],
  ["PROXY_API_KEY_FIL", "PROXY_API_KEY_FILE"],
])("The variable %s of the process is taken for a misspelled %s", async (name, meant) => {
  const expected = meant === undefined ? [] : [`${name} (environment) has no effect; did you mean ${meant}?`];
  expect((await load({}, { ...KEYS, [name]: "x".repeat(20) })).warnings).toEqual(expected);
  if (meant === undefined) return;
  const inFile = await load({ ".env": `${name}=${"x".repeat(20)}` }, KEYS);
  expect(inFile.warnings).toEqual([`${name} (.env) has no effect; did you mean ${meant}?`]);
});

test("No variable of a common environment is taken for a misspelled one", () => {
  const variables = new Map(COMMON_VARIABLES.map((name) => [name, { value: "x", origin: "environment" as const }]));
  const environment = { variables, files: [], problems: [], warnings: [] };
  expect(COMMON_VARIABLES.length).toBeGreaterThan(400);
  expect(reviewVariables(environment, { REST_SECRETS: [] }, []).misspelt).toEqual([]);
});

test("A variable that a service or REST_SECRETS names is not misspelled", async () => {
  const auth = { type: "bearer", tokenEnvVar: "LOG_LEVELS" };
  const file = JSON.stringify({ services: { x: { baseUrl: "https://x.example/", auth } } });
  const env = { ...KEYS, LOG_LEVELS: "a", CORS_ORIGIN: "b", REST_SECRETS: "CORS_ORIGIN@https://x.example" };
  expect((await load({ "config/services.json": file }, env)).warnings).toEqual([]);
});

test.each([
  ["PROXY_API_KYE", "/proxy/*", { MANAGEMENT_API_KEY: OTHER_KEY }],
  ["PROXY_APIKEY_FILE", "/proxy/*", { MANAGEMENT_API_KEY: OTHER_KEY }],
  ["MANAGMENT_API_KEY", "/manage/*", { PROXY_API_KEY: KEY }],
])("A misspelled key, %s, stops the start while %s is open", async (name, routes, env: Record<string, string>) => {
  const value = "misspelled-key-0123456789";
  const [problem, ...more] = await problemsOf({}, { ...env, [name]: value });
  expect(more).toEqual([]);
  expect(problem).toMatch(
    new RegExp(`^${name} \\(environment\\): found .* while ${routes.replaceAll("*", "\\*")} is open, .*did you mean`),
  );
  expect(problem).not.toContain(value);
  expect(await problemsOf({ ".env": `${name}=${value}` }, env)).toEqual([
    expect.stringContaining(`${name} (.env): found`),
  ]);
});

test("A misspelled key is only a warning where the plane is protected, or is open on purpose", async () => {
  for (const [env, more] of [
    [KEYS, []],
    [{ REQUIRE_AUTH_FOR_PROXY: "false", MANAGEMENT_API_KEY: OTHER_KEY }, []],
  ] as const) {
    const { warnings } = await load({}, { ...env, PROXY_API_KYE: KEY });
    expect(warnings).toEqual([...more, "PROXY_API_KYE (environment) has no effect; did you mean PROXY_API_KEY?"]);
  }
});
