/** The SDKs of GitLab and Telegram, with only base URL and key changed: they send the key in a header of the vendor's own, and in the path. */
import { Gitlab } from "@gitbeaker/rest";
import { Bot, GrammyError, InputFile } from "grammy";
import { describe, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { PROXY_KEY } from "../support/gateway.ts";
import { sendJson, startStandIn } from "../support/stand-in.ts";
import { bodyOf } from "../support/upstream.ts";

const WRONG_KEY = "not-a-key-of-the-gateway";

describe("@gitbeaker/rest", () => {
  const SECRET = "glpat-secretofthevendor0123";

  async function startGitlab(secret = SECRET) {
    const standIn = await startStandIn("gitlab", {
      env: { GITLAB_TOKEN: secret },
      accepts: ({ headers }) => headers["private-token"] === SECRET && headers.authorization === undefined,
      respond: async (req, res) => {
        if (req.method === "POST") return sendJson(res, { iid: 7, ...JSON.parse((await bodyOf(req)).toString()) }, 201);
        const page = new URL(req.url ?? "", "http://x").searchParams.get("page");
        const next = `http://${req.headers.host}/api/v4/projects?page=2&per_page=1`;
        if (page !== "2") res.setHeader("link", `<${next}>; rel="next", <${next}>; rel="last"`);
        sendJson(res, [{ id: page === "2" ? 2 : 1 }]);
      },
      refuse: (_, res) => sendJson(res, { message: "401 Unauthorized" }, 401),
    });
    const create = (token: string) => new Gitlab({ host: standIn.url, token });
    return { ...standIn, create };
  }

  test("GitLab's SDK pages through projects by Link headers with the gateway's key in PRIVATE-TOKEN, and creates an issue", async () => {
    const { create, accepted, refused, received } = await startGitlab();
    const gitlab = create(PROXY_KEY);
    const projects = await gitlab.Projects.all({ perPage: 1 });
    expect(projects.map(({ id }) => id)).toEqual([1, 2]);
    const issue = await gitlab.Issues.create("acme/web", "A title");
    expect(issue).toMatchObject({ iid: 7, title: "A title" });
    expect(accepted).toEqual([
      "GET /api/v4/projects?per_page=1",
      "GET /api/v4/projects?page=2&per_page=1",
      "POST /api/v4/projects/acme%2Fweb/issues",
    ]);
    expect(refused).toEqual([]);
    expect(received()).toContain(SECRET);
  });

  test("GitLab's SDK reports the gateway's 401 and GitLab's", async () => {
    const { create, received } = await startGitlab();
    await expect(create(WRONG_KEY).Projects.show(1)).rejects.toMatchObject({ cause: { response: { status: 401 } } });
    expect(received()).toBe("");
    const other = await startGitlab("glpat-expired0123456789");
    await expect(other.create(PROXY_KEY).Projects.show(1)).rejects.toMatchObject({
      cause: { response: { status: 401 }, description: expect.stringContaining("Unauthorized") },
    });
    other.received();
  });
});

describe("grammy", () => {
  const SECRET = "123456:AAE-secret-of-the-vendor-012345678";
  const me = { id: 1, is_bot: true, first_name: "Bot", username: "a_bot" };

  async function startTelegram(secret = SECRET) {
    const bodies: string[] = [];
    let polls = 0;
    const standIn = await startStandIn("telegram", {
      env: { TELEGRAM_BOT_TOKEN: secret },
      accepts: ({ url }) =>
        url?.startsWith(`/bot${SECRET}/`) === true || url?.startsWith(`/file/bot${SECRET}/`) === true,
      respond: async (req, res) => {
        bodies.push((await bodyOf(req)).toString());
        const method = req.url?.split("/").at(-1);
        if (method === "a.jpg") return void res.end("the bytes of a photo");
        if (method === "getMe") return sendJson(res, { ok: true, result: me });
        if (method === "getFile")
          return sendJson(res, { ok: true, result: { file_id: "f", file_path: "photos/a.jpg" } });
        if (method !== "getUpdates") return sendJson(res, { ok: true, result: { message_id: 9 } });
        // A long poll, which the SDK ends by itself when it stops. It confirms the updates with one more request.
        if (polls++ > 0)
          return JSON.parse(bodies.at(-1) ?? "").limit === 1 ? sendJson(res, { ok: true, result: [] }) : undefined;
        const message = { message_id: 1, date: 1, chat: { id: 5, type: "private" }, text: "hello" };
        sendJson(res, { ok: true, result: [{ update_id: 1, message }] });
      },
      refuse: (_, res) => sendJson(res, { ok: false, error_code: 401, description: "Unauthorized" }, 401),
    });
    const create = (token: string) => new Bot(token, { client: { apiRoot: standIn.url } });
    return { ...standIn, bodies, create };
  }

  test("Telegram's SDK polls, answers, uploads and downloads with the gateway's key in the path", async () => {
    const { create, url, accepted, refused, bodies, received, gateway } = await startTelegram();
    const bot = create(PROXY_KEY);
    const texts: unknown[] = [];
    bot.on("message", async (context) => {
      texts.push(context.message.text);
      await context.reply("hi");
    });
    void bot.start();
    await eventually(() => bodies.some((body) => body.includes('"hi"')), "the reply");
    await bot.stop();
    expect(texts).toEqual(["hello"]);
    await bot.api.sendPhoto(5, new InputFile(Buffer.from("bytes of an upload"), "b.jpg"));
    expect(bodies.at(-1)).toContain("bytes of an upload");
    const { file_path } = await bot.api.getFile("f");
    const file = await fetch(`${url}/file/bot${PROXY_KEY}/${file_path}`);
    expect(await file.text()).toBe("the bytes of a photo");
    expect(accepted.map((line) => line.replace(SECRET, "…"))).toEqual(
      expect.arrayContaining(["POST /bot…/getUpdates", "POST /bot…/sendMessage", "GET /file/bot…/photos/a.jpg"]),
    );
    expect(refused).toEqual([]);
    received();
    for (const secret of [SECRET, PROXY_KEY]) expect(gateway.logText()).not.toContain(secret);
  });

  test("Telegram's SDK reports the gateway's 401 and Telegram's", async () => {
    const { create, received } = await startTelegram();
    await expect(create(WRONG_KEY).api.getMe()).rejects.toThrow();
    expect(received()).toBe("");
    const other = await startTelegram("123456:AAE-a-token-that-was-revoked-0123");
    const error = await other
      .create(PROXY_KEY)
      .api.getMe()
      .catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(GrammyError);
    expect(error).toMatchObject({ error_code: 401, description: "Unauthorized" });
    other.received();
  });
});
