/** How often the event loop runs other work while a piece of long work is under way. */
import { vi } from "vitest";

/** The clock advances by 1 ms with each reading, so that the result is the same on any machine. */
export async function countYields(work: () => Promise<unknown>): Promise<number> {
  let now = performance.now();
  const clock = vi.spyOn(performance, "now").mockImplementation(() => ++now);
  let yields = 0;
  let isOver = false;
  const count = () => {
    yields += 1;
    if (!isOver) setImmediate(count);
  };
  setImmediate(count);
  try {
    await work();
  } finally {
    isOver = true;
    clock.mockRestore();
  }
  return yields;
}
