// SPDX-FileCopyrightText: 2026 The Dragoman Authors
// SPDX-License-Identifier: Apache-2.0
package example;

import dragoman.events.v1.Events.Feedback;
import dragoman.events.v1.Events.Prediction;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * Everything that was counted: events in any order, and repeated, give the same counts.
 *
 * <p>Memory: at most maxRows rows (about 0.5 KB each). Beyond that the row that came first is forgotten: it stays
 * counted, but its repetition would count again and its label would find nothing. Counters grow with the number of
 * versions, windows and pairs of labels.
 */
final class Counts {
  record RowKey(String tenant, String requestId, int row) {}

  record Series(String tenant, String model, long version, String arm) implements Comparable<Series> {
    static final Comparator<Series> ORDER =
        Comparator.comparing(Series::tenant)
            .thenComparing(Series::model)
            .thenComparing(Series::version)
            .thenComparing(Series::arm);

    @Override
    public int compareTo(Series other) {
      return ORDER.compare(this, other);
    }
  }

  /** Of several labels of a row the newest holds; equal times are settled by the text, by code points. */
  record Label(long timeUs, String text) {
    boolean isNewerThan(Label other) {
      if (timeUs != other.timeUs) {
        return timeUs > other.timeUs;
      }
      // UTF-8 bytes have the order of code points; Java's own order of strings is another one.
      byte[] mine = text.getBytes(StandardCharsets.UTF_8);
      return Arrays.compareUnsigned(mine, other.text.getBytes(StandardCharsets.UTF_8)) > 0;
    }
  }

  /** Where a prediction was counted, and its answer (empty: refused). */
  record Counted(Measures measures, String answer) {}

  /** What must be remembered of a row, to know it again and to join its label. A shadow is a copy of a stable row. */
  static final class Row {
    final Map<String, Counted> arms = new HashMap<>(2);
    Label label;
  }

  /** Counts of one version and arm in one window. */
  static final class Measures {
    final Map<String, Long> codes = new TreeMap<>();
    final Map<String, Long> labels = new TreeMap<>();
    final Map<String, Map<String, Long>> confusion = new TreeMap<>(); // true label -> predicted label -> rows
    long truncated;
    long tokens;
    long unknownTokens;

    void confuse(String trueLabel, String predicted, long change) {
      Map<String, Long> row = confusion.computeIfAbsent(trueLabel, unused -> new TreeMap<>());
      // A corrected label can take the last one away: then there is no cell.
      row.merge(predicted, change, (one, other) -> one + other == 0 ? null : Long.valueOf(one + other));
      if (row.isEmpty()) {
        confusion.remove(trueLabel);
      }
    }

    void add(Measures other) {
      other.codes.forEach((code, count) -> codes.merge(code, count, Long::sum));
      other.labels.forEach((label, count) -> labels.merge(label, count, Long::sum));
      other.confusion.forEach((label, row) -> row.forEach((predicted, count) -> confuse(label, predicted, count)));
      truncated += other.truncated;
      tokens += other.tokens;
      unknownTokens += other.unknownTokens;
    }

    Map<String, Object> document() {
      long labelled = 0;
      long correct = 0;
      for (Map.Entry<String, Map<String, Long>> row : confusion.entrySet()) {
        labelled += sum(row.getValue());
        correct += row.getValue().getOrDefault(row.getKey(), 0L);
      }
      Map<String, Object> document = new LinkedHashMap<>();
      document.put("predictions", sum(codes));
      document.put("by_code", codes);
      document.put("by_label", labels);
      document.put("labelled", labelled);
      document.put("correct", correct);
      document.put("confusion", confusion);
      document.put("truncated", truncated);
      document.put("tokens", tokens);
      document.put("unknown_tokens", unknownTokens);
      return document;
    }

    static long sum(Map<String, Long> counts) {
      return counts.values().stream().mapToLong(Long::longValue).sum();
    }
  }

  private final long windowUs;
  private final int maxRows;
  private final Map<Series, TreeMap<Long, Measures>> measures = new TreeMap<>();
  private final Map<RowKey, Row> rows = new LinkedHashMap<>();
  private final Map<String, Map<String, Long>> tallies = new TreeMap<>();
  private long forgotten;

  Counts(long windowS, int maxRows) {
    this.windowUs = windowS * 1_000_000;
    this.maxRows = maxRows;
  }

  void clear() {
    measures.clear();
    rows.clear();
    tallies.clear();
    forgotten = 0;
  }

  /** Count one message, whatever it is. */
  void take(String topic, Map<String, byte[]> headers, byte[] value) {
    try {
      if (topic.equals(Events.PREDICTIONS)) {
        take(Events.prediction(headers, value));
      } else {
        take(Events.feedback(headers, value));
      }
    } catch (Events.Poison error) {
      tally(Events.claimedTenant(headers), "poison", 1);
    }
  }

  private void take(Prediction event) throws Events.Poison {
    Row row = row(new RowKey(event.getTenant(), event.getRequestId(), event.getRow()));
    // A row has one prediction per arm, under one ce_id: whoever repeats an event keeps both.
    if (row.arms.containsKey(event.getArm())) {
      tally(event.getTenant(), "duplicates", 1);
      return;
    }
    if (row.label != null && row.arms.isEmpty()) {
      tally(event.getTenant(), "unjoined_feedback", -1);
    }
    long startUs = windowUs == 0 ? 0 : Math.floorDiv(Events.timeUs(event.getAcceptTime()), windowUs) * windowUs;
    Measures place =
        measures
            .computeIfAbsent(
                new Series(event.getTenant(), event.getModel(), event.getVersion(), event.getArm()),
                unused -> new TreeMap<>())
            .computeIfAbsent(startUs, unused -> new Measures());
    String answer = event.getCode().equals("OK") ? event.getLabel() : "";
    place.codes.merge(event.getCode(), 1L, Long::sum);
    if (!answer.isEmpty()) {
      place.labels.merge(answer, 1L, Long::sum);
      if (row.label != null) {
        place.confuse(row.label.text(), answer, 1);
      }
    }
    place.truncated += event.getTruncated() ? 1 : 0;
    place.tokens += event.getNumTokens();
    place.unknownTokens += event.getNumUnknownTokens();
    row.arms.put(event.getArm(), new Counted(place, answer));
  }

  private void take(Feedback event) throws Events.Poison {
    Row row = row(new RowKey(event.getTenant(), event.getRequestId(), event.getRow()));
    Label older = row.label;
    Label label = new Label(Events.timeUs(event.getReceiveTime()), event.getTrueLabel());
    if (older != null) {
      tally(event.getTenant(), "duplicates", 1);
      if (!label.isNewerThan(older)) {
        return;
      }
    } else if (row.arms.isEmpty()) {
      tally(event.getTenant(), "unjoined_feedback", 1);
    }
    row.label = label;
    for (Counted counted : row.arms.values()) {
      if (!counted.answer().isEmpty()) {
        counted.measures().confuse(label.text(), counted.answer(), 1);
        if (older != null) {
          counted.measures().confuse(older.text(), counted.answer(), -1);
        }
      }
    }
  }

  private Row row(RowKey key) {
    Row row = rows.computeIfAbsent(key, unused -> new Row());
    if (rows.size() > maxRows) {
      rows.remove(rows.keySet().iterator().next());
      forgotten++;
    }
    return row;
  }

  private void tally(String tenant, String name, long change) {
    tallies.computeIfAbsent(tenant, unused -> new HashMap<>()).merge(name, change, Long::sum);
  }

  Map<String, Object> document() {
    List<Object> versions = new ArrayList<>();
    measures.forEach(
        (series, byWindow) -> {
          Measures total = new Measures();
          List<Object> windows = new ArrayList<>();
          byWindow.forEach(
              (startUs, window) -> {
                total.add(window);
                if (windowUs != 0) {
                  Map<String, Object> document = new LinkedHashMap<>();
                  document.put("start_time", Instant.ofEpochSecond(startUs / 1_000_000).toString());
                  document.putAll(window.document());
                  windows.add(document);
                }
              });
          Map<String, Object> version = new LinkedHashMap<>();
          version.put("tenant", series.tenant());
          version.put("model", series.model());
          version.put("version", series.version());
          version.put("arm", series.arm());
          version.put("total", total.document());
          version.put("windows", windows);
          versions.add(version);
        });
    // An empty tenant: poison whose envelope does not say whose it is.
    Map<String, Object> tenants = new LinkedHashMap<>();
    tallies.forEach(
        (tenant, tally) -> {
          Map<String, Object> document = new LinkedHashMap<>();
          for (String name : List.of("duplicates", "unjoined_feedback", "poison")) {
            document.put(name, tally.getOrDefault(name, 0L));
          }
          tenants.put(tenant, document);
        });
    Map<String, Object> document = new LinkedHashMap<>();
    document.put("versions", versions);
    document.put("tenants", tenants);
    document.put("forgotten_rows", forgotten);
    return document;
  }
}
