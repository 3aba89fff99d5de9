/** The SDKs of Google Gemini and Azure OpenAI, with only base URL and key changed: they send the key in a header of the vendor's own. */
import { ApiError, GoogleGenAI } from "@google/genai";
import { AuthenticationError, AzureOpenAI } from "openai";
import { describe, expect, test } from "vitest";
import { PROXY_KEY } from "../support/gateway.ts";
import { sendJson, startStandIn } from "../support/stand-in.ts";

const SECRET = "secret-of-the-vendor-0123456789";

describe("@google/genai", () => {
  const part = (text: string) => ({ candidates: [{ content: { role: "model", parts: [{ text }] } }] });

  async function startGemini(secret = SECRET) {
    const standIn = await startStandIn("gemini", {
      env: { GEMINI_API_KEY: secret },
      accepts: ({ headers, url }) => headers["x-goog-api-key"] === SECRET && !url?.includes("key="),
      respond: (req, res) => {
        req.resume();
        if (!req.url?.includes("alt=sse")) return sendJson(res, part("Hello"));
        res.writeHead(200, { "content-type": "text/event-stream" });
        for (const text of ["Hel", "lo"]) res.write(`data: ${JSON.stringify(part(text))}\r\n\r\n`);
        res.end();
      },
      refuse: (_, res) =>
        sendJson(res, { error: { code: 401, message: "API key not valid", status: "UNAUTHENTICATED" } }, 401),
    });
    const create = (apiKey: string) => new GoogleGenAI({ apiKey, httpOptions: { baseUrl: standIn.url } });
    return { ...standIn, create };
  }

  test("Google's SDK generates and streams text with the gateway's key in x-goog-api-key", async () => {
    const { create, accepted, refused, received } = await startGemini();
    const { models } = create(PROXY_KEY);
    const params = { model: "gemini-2.5-flash", contents: "hi" };
    expect((await models.generateContent(params)).text).toBe("Hello");
    const texts: (string | undefined)[] = [];
    for await (const chunk of await models.generateContentStream(params)) texts.push(chunk.text);
    expect(texts).toEqual(["Hel", "lo"]);
    expect(accepted).toEqual([
      "POST /v1beta/models/gemini-2.5-flash:generateContent",
      "POST /v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
    ]);
    expect(refused).toEqual([]);
    expect(received()).toContain(SECRET);
  });

  test("Google's SDK reports the gateway's 401 and the vendor's", async () => {
    const ask = (genai: GoogleGenAI) => genai.models.generateContent({ model: "m", contents: "hi" });
    const { create, received } = await startGemini();
    const error = await ask(create("not-a-key-of-the-gateway")).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ApiError);
    expect(error).toMatchObject({ status: 401, message: expect.stringContaining("key") });
    expect(received()).toBe("");
    const other = await startGemini("a-secret-that-has-expired");
    await expect(ask(other.create(PROXY_KEY))).rejects.toMatchObject({
      status: 401,
      message: expect.stringContaining("API key not valid"),
    });
    expect(other.refused).toHaveLength(1);
    other.received();
  });

  test("The gateway's key as ?key=, which Google accepts too, does not reach Google beside a key in the header", async () => {
    const { url, accepted, received } = await startGemini();
    const target = `${url}/v1beta/models?key=${PROXY_KEY}&pageSize=5`;
    const headers = { "x-goog-api-key": PROXY_KEY };
    expect((await fetch(target, { headers })).status).toBe(200);
    expect(accepted).toEqual(["GET /v1beta/models?pageSize=5"]);
    received();
  });
});

describe("AzureOpenAI", () => {
  async function startAzure(secret = SECRET) {
    const standIn = await startStandIn("azure-openai", {
      inputs: { host: "my-resource.openai.azure.com" },
      env: { AZURE_OPENAI_API_KEY: secret },
      accepts: ({ headers }) => headers["api-key"] === SECRET && headers.authorization === undefined,
      respond: (req, res) => {
        req.resume();
        sendJson(res, {
          id: "1",
          object: "chat.completion",
          choices: [{ message: { role: "assistant", content: "Hello" } }],
        });
      },
      refuse: (_, res) => sendJson(res, { error: { code: "401", message: "Access denied" } }, 401),
    });
    const create = (apiKey: string) =>
      new AzureOpenAI({ apiKey, endpoint: standIn.url, apiVersion: "2024-10-21", deployment: "gpt", maxRetries: 0 });
    return { ...standIn, create };
  }
  const ask = (client: AzureOpenAI) =>
    client.chat.completions.create({ model: "gpt", messages: [{ role: "user", content: "hi" }] });

  test("Azure's client of the openai package gets a completion with the gateway's key in api-key", async () => {
    const { create, accepted, refused, received } = await startAzure();
    expect((await ask(create(PROXY_KEY))).choices[0]?.message.content).toBe("Hello");
    expect(accepted).toEqual(["POST /openai/deployments/gpt/chat/completions?api-version=2024-10-21"]);
    expect(refused).toEqual([]);
    expect(received()).toContain(SECRET);
  });

  test("Azure's client reports the gateway's 401 and the vendor's", async () => {
    const { create, received } = await startAzure();
    const error = await ask(create("not-a-key-of-the-gateway")).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(AuthenticationError);
    expect(received()).toBe("");
    const other = await startAzure("a-secret-that-has-expired");
    await expect(ask(other.create(PROXY_KEY))).rejects.toMatchObject({ status: 401, code: "401" });
    other.received();
  });
});
