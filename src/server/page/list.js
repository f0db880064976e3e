// The list of jobs: filtered, paged, live.
// Owns which jobs are listed, and when that is drawn; what a line says is in `row.js`, a job's own page in `job.js`.

import * as api from "./api.js";
import { Picture, isShowable } from "./pictures.js";
import { rowOf } from "./row.js";
import { byId, swap } from "./dom.js";

const PAGE = 20;
/** News is drawn this often at most: a burst of jobs changes lines faster than anybody reads. */
const DRAW_MS = 250;
/** How soon lines that left are made up for by older ones. */
const FILL_MS = 500;
/** How often places in line are asked for: no news tells that they moved up. */
const PLACES_MS = 10_000;
/** New jobs that are counted while somebody reads. */
const WAITING_MAX = 99;
/** What stands above the page's content all the time. */
const HEADER_PX = 56;

export class List {
  constructor({ onGone }) {
    this.onGone = onGone;
    this.rows = new Map();
    /** After which job each page begins. */
    this.pages = [null];
    this.hasMore = false;
    this.loading = 0;
    /** What the stream told and is not drawn yet; and what it told since an answer is waited for, which may be older. */
    this.news = new Map();
    this.told = new Map();
    this.asking = 0;
    /** New jobs that would move what somebody reads. */
    this.waiting = new Set();
    this.drawnAt = -Infinity;
    this.timers = {};
    byId("filter").addEventListener("submit", (event) => event.preventDefault());
    byId("filter-status").addEventListener("change", () => this.first());
    byId("filter-tag").addEventListener("change", () => this.first());
    byId("filter-tag").addEventListener("search", () => this.first());
    byId("older").addEventListener("click", () => this.turn(1));
    byId("newer").addEventListener("click", () => this.turn(-1));
    byId("waiting").addEventListener("click", () => {
      byId("jobs-title").focus({ preventScroll: true });
      byId("jobs-title").scrollIntoView();
      this.first();
    });
    for (const [place, event] of [[byId("jobs"), "pointerleave"], [byId("jobs"), "focusout"], [document, "scroll"]]) {
      place.addEventListener(event, () => this.waiting.size > 0 && this.soon("draw", DRAW_MS, () => this.draw()), { passive: true });
    }
  }

  filter() {
    return { status: byId("filter-status").value, tag: byId("filter-tag").value.trim() };
  }

  /** Back to the first page. */
  first() {
    this.pages = [null];
    return this.load();
  }

  turn(by) {
    // The list grows at its head: the next page begins after what is shown, wherever that is by now.
    if (by > 0 && this.hasMore) this.pages.push(this.ids().at(-1) ?? this.pages.at(-1));
    else if (by < 0 && this.pages.length > 1) this.pages.pop();
    this.waiting.clear();
    return this.load();
  }

  /** The jobs that are shown, newest first. */
  ids() {
    return [...this.rows.keys()].sort().reverse();
  }

  /** Whether somebody is at the list: then its lines don't move under their eyes, their pointer or their focus. */
  isRead() {
    const place = byId("jobs");
    if (this.rows.size === 0 || byId("home").hidden) return false;
    const isPointedAt = matchMedia("(hover: hover)").matches && place.matches(":hover");
    return isPointedAt || place.getBoundingClientRect().top < HEADER_PX || place.querySelector(":focus-visible") !== null;
  }

  /** Jobs older than this one, as they are now: what the stream told meanwhile is newer than the answer. */
  async ask(after, limit) {
    const { status, tag } = this.filter();
    const query = new URLSearchParams({ limit });
    if (status) query.set("status", status);
    if (tag) query.set("tag", tag);
    if (after) query.set("cursor", after);
    this.asking += 1;
    try {
      const { jobs, next } = await api.jobs(`/v1/jobs?${query}`);
      const known = jobs.map((job) => (this.told.get(job.id)?.version > job.version ? this.told.get(job.id) : job));
      const came = new Set([...this.told.values()].filter((job) => this.isWanted(job)).map(({ id }) => id));
      return { jobs: known.filter((job) => this.isWanted(job)), hasMore: next !== null, end: jobs.at(-1)?.id, came };
    } finally {
      this.asking -= 1;
      if (this.asking === 0) this.told.clear();
    }
  }

  /** Reads the page that is shown again. `isQuiet`: nobody asked for that, so what is being read stays where it is. */
  async load({ isQuiet = false } = {}) {
    const turn = (this.loading += 1);
    try {
      const { jobs, hasMore, end, came } = await this.ask(this.pages.at(-1), PAGE);
      if (turn !== this.loading) return;
      const stays = isQuiet && this.pages.length === 1 && this.isRead();
      const head = this.ids()[0] ?? "";
      const listed = new Set(jobs.map(({ id }) => id));
      // What came while the answer was on its way is not in it; nor is the end of a page that stays, once others stand before it.
      for (const id of this.ids()) if (!listed.has(id) && !came.has(id) && !(stays && hasMore && id < end)) this.drop(id);
      this.hasMore = hasMore;
      if (!stays) this.waiting.clear();
      for (const job of jobs) {
        if (stays && job.id > head) this.wait(job);
        else this.show(job);
      }
      byId("list-trouble").textContent = "";
      this.tidy();
    } catch (problem) {
      if (turn === this.loading) byId("list-trouble").textContent = `The list can't be read: ${problem.message}`;
    }
  }

  /** News of a job. */
  take(job) {
    if (this.news.get(job.id)?.version > job.version) return;
    this.news.set(job.id, job);
    if (this.asking > 0) this.told.set(job.id, job);
    this.soon("draw", Math.max(0, this.drawnAt + DRAW_MS - performance.now()), () => this.draw());
  }

  isWanted(job) {
    const { status, tag } = this.filter();
    return (!status || status === job.status) && (!tag || tag === job.tag);
  }

  /** Does something after a while, once. */
  soon(what, ms, run) {
    this.timers[what] ??= setTimeout(() => {
      this.timers[what] = null;
      run();
    }, ms);
  }

  /** Shows the news that belong on this page. */
  draw() {
    this.drawnAt = performance.now();
    const news = [...this.news.values()];
    this.news.clear();
    const isRead = this.isRead();
    const last = this.hasMore ? this.ids().at(-1) ?? "" : "";
    const coming = [];
    for (const job of news) {
      if (!this.isWanted(job)) this.drop(job.id);
      else if (this.rows.has(job.id)) this.show(job);
      else if (this.pages.length === 1 && job.id > last) (isRead ? this.wait(job) : coming.push(job));
    }
    // Of many, only those are drawn that stay.
    for (const job of coming.sort((a, b) => (a.id < b.id ? 1 : -1)).slice(0, PAGE)) this.show(job);
    if (coming.length > PAGE) this.hasMore = true;
    if (this.waiting.size > 0 && !isRead) {
      this.waiting.clear();
      this.load();
    }
    this.tidy();
  }

  wait(job) {
    if (this.waiting.size <= WAITING_MAX) this.waiting.add(job.id);
  }

  show(job) {
    const known = this.rows.get(job.id);
    if (known && known.version > job.version) return;
    if (known && known.version === job.version && known.position === job.queue_position) return;
    const picture = this.pictureOf(job, known);
    const item = rowOf(job, picture, { onJob: (changed) => this.take(changed), onGone: this.onGone });
    if (known) swap(known.item, item);
    else {
      const before = this.ids().filter((id) => id > job.id).at(-1);
      if (before) this.rows.get(before).item.after(item);
      else byId("jobs").prepend(item);
    }
    this.rows.set(job.id, { version: job.version, position: job.queue_position, item, picture });
  }

  /** The thumbnail: kept as long as it shows the same thing. */
  pictureOf(job, known) {
    const output = job.outputs.find(isShowable);
    const address = output?.url ?? null;
    if (known?.picture?.path === address) return known.picture;
    known?.picture?.release();
    return address ? new Picture(address, { alt: "", className: "thumb" }) : null;
  }

  /** A job is no more. */
  remove(id) {
    this.news.delete(id);
    this.told.delete(id);
    this.drop(id);
    this.tidy();
  }

  drop(id) {
    this.waiting.delete(id);
    const row = this.rows.get(id);
    if (!row) return;
    row.picture?.release();
    row.item.remove();
    this.rows.delete(id);
  }

  /** Makes the page as long as it may be, and says what there is beside it. */
  tidy() {
    for (const id of this.ids().slice(PAGE)) {
      this.drop(id);
      this.hasMore = true;
    }
    if (this.rows.size < PAGE && this.hasMore) this.soon("fill", FILL_MS, () => this.fill());
    if ([...this.rows.values()].some(({ position }) => position)) this.soon("places", PLACES_MS, () => (document.hidden ? this.tidy() : this.load({ isQuiet: true })));
    const { status, tag } = this.filter();
    byId("empty").hidden = this.rows.size > 0 || this.hasMore;
    byId("empty").textContent = this.pages.length > 1 ? "No older jobs." : status || tag ? "No job matches." : "No jobs yet. Drop an image above.";
    byId("newer").disabled = this.pages.length === 1;
    byId("older").disabled = !this.hasMore;
    byId("pager").hidden = this.pages.length === 1 && !this.hasMore;
    byId("page-number").textContent = `Page ${this.pages.length}`;
    const count = this.waiting.size;
    byId("waiting").hidden = count === 0;
    byId("waiting").textContent = `${count > WAITING_MAX ? `more than ${WAITING_MAX}` : count} new ${count === 1 ? "job" : "jobs"}`;
  }

  /** Lines that left make room for older ones. */
  async fill() {
    const missing = PAGE - this.rows.size;
    if (missing <= 0 || !this.hasMore) return;
    const turn = this.loading;
    try {
      const { jobs, hasMore } = await this.ask(this.ids().at(-1) ?? this.pages.at(-1), missing);
      if (turn !== this.loading) return;
      this.hasMore = hasMore;
      for (const job of jobs) this.show(job);
    } catch {
      // Said once the list as a whole can't be read.
    }
    this.tidy();
  }
}
