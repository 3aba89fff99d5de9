/** Secrets in the paths of requests and of base URLs: what is masked, and what stays readable. */
import { describe, expect, test } from "vitest";
import { findPathSecrets } from "../../src/telemetry/path-secrets.ts";
import { maskBaseUrl, maskUrl, secretsInBaseUrl } from "../../src/telemetry/redact.ts";

const DISCORD = "aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789-_aBcDeFgHiJkLmNoPqRsTuVwXyZ012345";

describe("path of a request", () => {
  test.each([
    [`/proxy/discord/webhooks/123456789012345678/${DISCORD}`, "/proxy/discord/webhooks/123456789012345678/***"],
    [`/proxy/d/api/v10/webhooks/1/${DISCORD}?wait=true`, "/proxy/d/api/v10/webhooks/1/***?wait=***"],
    [`/proxy/d/webhooks/1/${DISCORD}/messages/@original`, "/proxy/d/webhooks/1/***/messages/@original"],
    [`/proxy/d/interactions/1/${DISCORD}/callback`, "/proxy/d/interactions/1/***/callback"],
    [`/proxy/d//webhooks//1//${DISCORD}`, "/proxy/d//webhooks//1//***"],
    [`/proxy/d/w%65bhooks/1/${DISCORD}`, "/proxy/d/w%65bhooks/1/***"],
    [`/proxy/d/webhooks%2F1%2f${DISCORD}`, "/proxy/d/webhooks%2F1%2f***"],
    [`/proxy/d/webhooks%252F1%252F${DISCORD}`, "/proxy/d/webhooks%252F1%252F***"],
    [`/proxy/d/webhooks;a/1%20/./${DISCORD};b`, "/proxy/d/webhooks;a/1%20/./***"],
    [`/proxy/d/webhooks/an-id/${DISCORD}`, "/proxy/d/webhooks/an-id/***"],
    ["/proxy/d/webhooks/1/secretword", "/proxy/d/webhooks/1/***"],
    ["/proxy/d/webh%6Foks/1/secretword", "/proxy/d/webh%6Foks/1/***"],
    ["/proxy/d/webh%256Foks/1/secretword", "/proxy/d/webh%256Foks/1/***"],
    ["/proxy/slack/services/T000/B000/XXXXXXXXXXXXXXXXXXXXXXXX", "/proxy/slack/services/T000/B000/***"],
    ["/proxy/slack/services/T/B/x", "/proxy/slack/services/T/B/***"],
    ["/proxy/slack/workflows/T012345/A012345/987654321/aBcDeF", "/proxy/slack/workflows/T012345/***/***/***"],
    ["/proxy/tg/bot123456:AAE-x_y/getMe", "/proxy/tg/bot***/getMe"],
    ["/proxy/tg/bot123456%3AAAE-x_y/getMe", "/proxy/tg/bot***/getMe"],
    ["/proxy/tg/file/bot123456:AAE-x_y/photos/a.jpg", "/proxy/tg/file/bot***/photos/a.jpg"],
    ["/proxy/mm/hooks/9zqfxfpcxiyyt8gkptzkr3ikyc", "/proxy/mm/hooks/***"],
    ["/proxy/zapier/hooks/catch/123456/o1a2b3c/", "/proxy/zapier/hooks/catch/123456/***/"],
    ["/proxy/teams/webhookb2/x/IncomingWebhook/0a1b/c-d", "/proxy/teams/webhookb2/x/IncomingWebhook/***/***"],
    ["/proxy/ifttt/trigger/x/with/key/dQ9x", "/proxy/ifttt/trigger/x/with/key/***"],
    ["/proxy/x/v1/xoxb-123456-abcdef/y", "/proxy/x/v1/***/y"],
    ["/proxy/x/ghp_0123456789abcdef", "/proxy/x/***"],
  ])("The token in %s is masked", (url, masked) => {
    expect(maskUrl(url)).toBe(masked);
  });

  test.each([
    "/proxy/github/repos/acme/api/hooks/123456/deliveries",
    "/proxy/github/users/octocat/keys",
    "/proxy/x/webhooks/1/deliveries",
    "/proxy/x/webhooks/123456789012345678",
    "/proxy/x/webhooks",
    "/proxy/x/services/web/status",
    "/proxy/x/services/T0/B0",
    "/proxy/x/bottleneck/bot/robots.txt",
    "/proxy/x/a%20b/%E4%B8%AD/%zz",
    "/proxy/openai/v1/chat/completions",
    "/proxy/services",
    "/",
  ])("The path %s has no token and stays as it is", (url) => {
    expect(maskUrl(url)).toBe(url);
  });

  test("Only the path is searched, not what follows its end", () => {
    expect(findPathSecrets("/a?u=/webhooks/1/secretword/")).toEqual([]);
    expect(findPathSecrets("/webhooks/1#/secretword")).toEqual([]);
    expect(findPathSecrets("/webhooks/1/secretword?x")).toEqual([[12, 22]]);
  });

  test("A long path of many slashes takes linear time", () => {
    const started = performance.now();
    maskUrl(`/proxy/x${"/webhooks/1".repeat(1_400)}%`);
    maskUrl(`/${"%2f".repeat(5_000)}`);
    expect(performance.now() - started).toBeLessThan(200);
  });
});

describe("base URL", () => {
  test.each([
    ["https://api.telegram.org/bot12345:AAE-secret/", "https://api.telegram.org/bot***/", "12345:AAE-secret"],
    ["https://hooks.slack.com/services/T0/B0/s3cret", "https://hooks.slack.com/services/T0/B0/***", "s3cret"],
    ["https://x.example/xoxb-1234-abcd/", "https://x.example/***/", "xoxb-1234-abcd"],
    ["https://x.infura.io/v3/0a1b2c3d4e5f60718293a4b5c6d7e8f9", "https://x.infura.io/v3/***", undefined],
    ["https://x.alchemy.com/v2/aB3dE5gH7jK9mN1pQ3sT5vW7", "https://x.alchemy.com/v2/***", undefined],
  ])("The secret in %s is found and masked", (url, masked, secret) => {
    expect(maskBaseUrl(url)).toBe(masked);
    expect(secretsInBaseUrl(url)).toEqual([secret ?? expect.stringMatching(/^\w{24,}$/)]);
  });

  test.each([
    "https://api.github.com/",
    "https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/",
    "https://api.cloudflare.com/client/v4/accounts/0a1b2c3d4e5f60718293a4b5c6d7e8f9/",
    "https://my-resource.openai.azure.com/openai/deployments/gpt-4o-mini-2024-07-18/",
    "https://us-central1-aiplatform.googleapis.com/v1/projects/my-project-123/locations/us-central1/",
    "https://bedrock-runtime.us-east-1.amazonaws.com/model/anthropic.claude-3-5-sonnet-20241022-v2:0/",
    "http://127.0.0.1:8080/api/v2/",
    "https://x.example/12345678901234567890123456789012/abcdefabcdefabcdefabcdefabcdefab/",
    "https://x.example/0A1b2C3d-4e5f-6071-8293-a4b5c6d7e8f9/",
    "https://AB12CD34EF.algolia.net/1/indexes",
  ])("The base URL %s has no secret", (url) => {
    expect(secretsInBaseUrl(url)).toEqual([]);
  });
});
