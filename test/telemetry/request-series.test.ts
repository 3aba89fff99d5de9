/** Request counts: a scrape shows the counted requests, and labels come from short lists. */
import { beforeEach, describe, expect, test } from "vitest";
import { RequestSeries } from "../../src/telemetry/request-series.ts";

let series: RequestSeries;

beforeEach(() => {
  series = new RequestSeries();
});

/** The sample lines, without comments. */
function samples(): string[] {
  return series
    .text()
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"));
}

/** The cumulative counts of one histogram by `le`. */
function buckets(): Record<string, number> {
  const lines = samples().flatMap((line) => /_bucket\{le="([^"]+)".* (\d+)$/.exec(line) ?? []);
  const found: Record<string, number> = {};
  for (let i = 0; i < lines.length; i += 3) found[lines[i + 1] as string] = Number(lines[i + 2]);
  return found;
}

describe("requests", () => {
  test("Requests are counted by service, method and status class", () => {
    for (const status of [200, 204, 404]) series.count("github", "GET", status, 1);
    series.count("openai", "POST", 500, 1);
    const counted = samples().filter((line) => line.startsWith("byteproxy_requests_total"));
    expect(counted).toEqual([
      'byteproxy_requests_total{service="github",method="GET",status="2xx"} 2',
      'byteproxy_requests_total{service="github",method="GET",status="4xx"} 1',
      'byteproxy_requests_total{service="openai",method="POST",status="5xx"} 1',
    ]);
  });

  test.each(["PROPFIND", "constructor", "__proto__", ""])(
    "Requests with the unlisted method %j count as `other`",
    (method) => {
      series.count("dav", method, 207, 1);
      expect(samples()).toContain('byteproxy_requests_total{service="dav",method="other",status="2xx"} 1');
    },
  );

  test.each([0, 99, 600, 999])("Requests with the status %d, which has no class, count without a class", (status) => {
    series.count("odd", "GET", status, 1);
    expect(samples()).toContain('byteproxy_requests_total{service="odd",method="GET",status=""} 1');
  });
});

describe("durations", () => {
  test("A duration counts in every bucket that is not below it", () => {
    for (const ms of [0, 5, 5.001, 10, 299_999, 300_000, 300_001]) series.count("a", "GET", 200, ms);
    const found = buckets();
    expect([found["0.005"], found["0.01"], found["0.025"], found["120"], found["300"], found["+Inf"]]).toEqual([
      2, 4, 4, 4, 6, 7,
    ]);
    expect(samples()).toContain('byteproxy_request_duration_seconds_count{service="a"} 7');
    expect(samples()).toContain(`byteproxy_request_duration_seconds_sum{service="a"} ${900.020001}`);
  });

  test("WebSockets have no duration, and a service with WebSockets only has no duration series", () => {
    series.count("chat", "GET", 101, 60_000);
    expect(samples()).toEqual(['byteproxy_requests_total{service="chat",method="GET",status="1xx"} 1']);
  });
});

test("Two scrapes return the same counts, and a removed service has no series", () => {
  series.count("a", "GET", 200, 1);
  series.count("b", "GET", 200, 1);
  expect(samples()).toEqual(samples());
  series.forget("a");
  expect(samples().filter((line) => line.includes('service="a"'))).toEqual([]);
  expect(samples().filter((line) => line.includes('service="b"'))).toHaveLength(19);
});
