/** The SDKs of Slack and Notion, with only base URL and key changed. */
import { APIResponseError, Client } from "@notionhq/client";
import { WebClient } from "@slack/web-api";
import { describe, expect, test } from "vitest";
import { PROXY_KEY } from "../support/gateway.ts";
import { sendJson, startStandIn } from "../support/stand-in.ts";
import { bodyOf } from "../support/upstream.ts";

const WRONG_KEY = "not-a-key-of-the-gateway";

describe("@slack/web-api", () => {
  const SECRET = "xoxb-0123456789-secretofthevendor";

  async function startSlack(secret = SECRET) {
    const bodies: string[] = [];
    const standIn = await startStandIn("slack", {
      env: { SLACK_BOT_TOKEN: secret },
      accepts: ({ headers }) => headers.authorization === `Bearer ${SECRET}`,
      respond: async (req, res) => {
        const body = (await bodyOf(req)).toString();
        bodies.push(body);
        if (!req.url?.endsWith("conversations.list")) return sendJson(res, { ok: true, team: "T1" });
        const isLast = body.includes("cursor=");
        const page = {
          channels: [{ id: isLast ? "C2" : "C1" }],
          response_metadata: { next_cursor: isLast ? "" : "next" },
        };
        sendJson(res, { ok: true, ...page });
      },
      // Slack responds 200 to everything.
      refuse: (_, res) => sendJson(res, { ok: false, error: "invalid_auth" }),
    });
    const create = (token: string) =>
      new WebClient(token, { slackApiUrl: `${standIn.url}/`, retryConfig: { retries: 0 } });
    return { ...standIn, bodies, create };
  }

  test("Slack's SDK posts a message and pages through a list with the gateway's key as its token", async () => {
    const { create, accepted, refused, bodies, received } = await startSlack();
    const slack = create(PROXY_KEY);
    expect(await slack.auth.test()).toMatchObject({ ok: true, team: "T1" });
    await slack.chat.postMessage({ channel: "C1", text: "a & b=c" });
    const ids: unknown[] = [];
    for await (const { channels } of slack.paginate("conversations.list", { limit: 1 }) as AsyncIterable<{
      channels?: { id: string }[];
    }>)
      ids.push(...(channels ?? []).map(({ id }) => id));
    expect(ids).toEqual(["C1", "C2"]);
    expect(accepted).toEqual([
      "POST /api/auth.test",
      "POST /api/chat.postMessage",
      "POST /api/conversations.list",
      "POST /api/conversations.list",
    ]);
    expect(refused).toEqual([]);
    expect(new URLSearchParams(bodies[1]).get("text")).toBe("a & b=c");
    received();
  });

  test("Slack's SDK reports the gateway's 401 as an HTTP error and Slack's refusal as invalid_auth", async () => {
    const { create, received } = await startSlack();
    await expect(create(WRONG_KEY).auth.test()).rejects.toMatchObject({
      code: "slack_webapi_http_error",
      statusCode: 401,
    });
    expect(received()).toBe("");
    const other = await startSlack("xoxb-expired-0123456789");
    await expect(other.create(PROXY_KEY).auth.test()).rejects.toMatchObject({ data: { error: "invalid_auth" } });
    other.received();
  });
});

describe("@notionhq/client", () => {
  const SECRET = "ntn_secretofthevendor0123456789";

  async function startNotion(secret = SECRET) {
    const versions: unknown[] = [];
    const standIn = await startStandIn("notion", {
      env: { NOTION_TOKEN: secret },
      accepts: ({ headers }) => headers.authorization === `Bearer ${SECRET}` && "notion-version" in headers,
      respond: async (req, res) => {
        versions.push(req.headers["notion-version"]);
        const { start_cursor } = JSON.parse((await bodyOf(req)).toString() || "{}");
        const list = { results: [{ id: start_cursor ?? "first" }], next_cursor: start_cursor ? null : "second" };
        sendJson(res, { object: "list", has_more: list.next_cursor !== null, ...list });
      },
      refuse: (_, res) =>
        sendJson(res, { object: "error", status: 401, code: "unauthorized", message: "API token is invalid." }, 401),
    });
    const create = (auth: string) => new Client({ auth, baseUrl: standIn.url, retry: false });
    return { ...standIn, versions, create };
  }

  test("Notion's SDK searches page by page with the gateway's key, and its own version of the API is kept", async () => {
    const { create, accepted, refused, versions, received } = await startNotion();
    const notion = create(PROXY_KEY);
    const first = await notion.search({ query: "x" });
    const second = await notion.search({ query: "x", start_cursor: String(first.next_cursor) });
    expect([...first.results, ...second.results].map(({ id }) => id)).toEqual(["first", "second"]);
    expect(accepted).toEqual(["POST /v1/search", "POST /v1/search"]);
    expect(refused).toEqual([]);
    expect(versions).toEqual([Client.defaultNotionVersion, Client.defaultNotionVersion]);
    received();
  });

  test("Notion's SDK reports the gateway's 401 and Notion's", async () => {
    const { create, received } = await startNotion();
    await expect(create(WRONG_KEY).users.me({})).rejects.toMatchObject({ status: 401 });
    expect(received()).toBe("");
    const other = await startNotion("ntn_expired0123456789");
    const error = await other
      .create(PROXY_KEY)
      .users.me({})
      .catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(APIResponseError);
    expect(error).toMatchObject({ status: 401, code: "unauthorized" });
    other.received();
  });
});
