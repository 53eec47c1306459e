// SPDX-FileCopyrightText: 2026 The Dragoman Authors
// SPDX-License-Identifier: Apache-2.0
package example;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Timestamp;
import dragoman.events.v1.Events.Feedback;
import dragoman.events.v1.Events.Prediction;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.time.DateTimeException;
import java.time.OffsetDateTime;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;
import java.util.regex.Pattern;

/** Reading: a message of Kafka becomes a checked Prediction or Feedback, or is poison. */
final class Events {
  static final String PREDICTIONS = "dragoman.predictions";
  static final String FEEDBACK = "dragoman.feedback";
  static final long MAX_TIME_US = 253_402_300_799_999_999L; // the year 9999
  static final Pattern CODE = Pattern.compile("[A-Z][A-Z_]{1,31}");
  static final Pattern RATE = Pattern.compile("[0-9]{1,9}");
  static final Pattern EXTENSION = Pattern.compile("[a-z0-9]{1,20}");
  static final Pattern CONTROL = Pattern.compile("[\\x00-\\x1f\\x7f-\\x9f]");

  /** A message that is no event: it is counted as poison, and passed over. */
  static final class Poison extends Exception {
    Poison(String why) {
      super(why);
    }
  }

  static void require(boolean condition, String why) throws Poison {
    if (!condition) {
      throw new Poison(why);
    }
  }

  /** The CloudEvents attributes of a message in binary mode, without their prefix. */
  static Map<String, String> envelope(Map<String, byte[]> headers, String type) throws Poison {
    Map<String, String> attributes = new HashMap<>();
    try {
      byte[] contentType = headers.getOrDefault("content-type", new byte[0]);
      require(utf8(contentType).equals("application/protobuf"), "content-type");
      for (Map.Entry<String, byte[]> header : headers.entrySet()) {
        if (header.getKey().startsWith("ce_")) {
          attributes.put(header.getKey().substring(3), utf8(header.getValue()));
        }
      }
      OffsetDateTime.parse(attributes.getOrDefault("time", ""));
    } catch (CharacterCodingException | DateTimeException error) {
      throw new Poison("an attribute cannot be read");
    }
    require("1.0".equals(attributes.get("specversion")), "ce_specversion");
    require(type.equals(attributes.get("type")), "ce_type");
    require(!attributes.getOrDefault("id", "").isEmpty(), "ce_id");
    require(!attributes.getOrDefault("source", "").isEmpty(), "ce_source");
    for (Map.Entry<String, String> attribute : attributes.entrySet()) {
      String name = attribute.getKey();
      require(EXTENSION.matcher(name).matches() && !Set.of("data", "datacontenttype").contains(name), "a name");
      require(numBytes(attribute.getValue()) <= 1024 && !CONTROL.matcher(attribute.getValue()).find(), name);
    }
    return attributes;
  }

  static String utf8(byte[] bytes) throws CharacterCodingException {
    // new String(bytes) would put a replacement where the bytes are no text.
    return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString();
  }

  static int numBytes(String text) {
    return text.getBytes(StandardCharsets.UTF_8).length;
  }

  static boolean isName(String text) {
    return !text.isEmpty() && numBytes(text) <= 256 && text.indexOf('\0') < 0;
  }

  static boolean isLabel(String text) {
    return !text.isEmpty() && text.codePointCount(0, text.length()) <= 128 && text.indexOf('\0') < 0;
  }

  /** Microseconds since 1970; a time that is missing is 0. */
  static long timeUs(Timestamp time) throws Poison {
    require(Math.abs(time.getSeconds()) < 1_000_000_000_000L, "a time is out of range");
    long us = time.getSeconds() * 1_000_000 + Math.floorDiv(time.getNanos(), 1_000);
    require(0 < us && us <= MAX_TIME_US, "a time is missing");
    return us;
  }

  static Prediction prediction(Map<String, byte[]> headers, byte[] value) throws Poison {
    Map<String, String> attributes = envelope(headers, Prediction.getDescriptor().getFullName());
    Prediction event;
    try {
      event = Prediction.parseFrom(value);
    } catch (InvalidProtocolBufferException error) {
      throw new Poison("the value does not parse");
    }
    checkKey(attributes, event.getTenant(), event.getRequestId(), event.getRow());
    require(isName(event.getModel()) && event.getVersion() >= 1, "model or version");
    require(Set.of("stable", "canary", "shadow").contains(event.getArm()), "arm");
    require(CODE.matcher(event.getCode()).matches(), "code");
    require(0 <= event.getLatencyMs() && event.getLatencyMs() <= 1e9, "latency_ms"); // false for NaN
    require(0 <= event.getNumUnknownTokens() && event.getNumUnknownTokens() <= event.getNumTokens(), "tokens");
    String rate = attributes.getOrDefault("sampledrate", "1");
    require(RATE.matcher(rate).matches() && 1 <= Long.parseLong(rate) && Long.parseLong(rate) <= 10_000_000, "rate");
    timeUs(event.getAcceptTime());
    if (event.getCode().equals("OK")) {
      require(isLabel(event.getLabel()), "label");
      require(0 <= event.getScore() && event.getScore() <= 1 + 1e-5, "score");
    }
    return event;
  }

  static Feedback feedback(Map<String, byte[]> headers, byte[] value) throws Poison {
    Map<String, String> attributes = envelope(headers, Feedback.getDescriptor().getFullName());
    Feedback event;
    try {
      event = Feedback.parseFrom(value);
    } catch (InvalidProtocolBufferException error) {
      throw new Poison("the value does not parse");
    }
    checkKey(attributes, event.getTenant(), event.getRequestId(), event.getRow());
    require(isLabel(event.getTrueLabel()), "true_label");
    timeUs(event.getReceiveTime());
    return event;
  }

  static void checkKey(Map<String, String> attributes, String tenant, String requestId, int row) throws Poison {
    // Brokers give rights by the envelope: a value that speaks for another tenant must not count.
    require(attributes.getOrDefault("tenant", tenant).equals(tenant), "ce_tenant");
    require(attributes.getOrDefault("requestid", requestId).equals(requestId), "ce_requestid");
    require(isName(tenant) && isName(requestId), "tenant or request_id");
    require(0 <= row && row <= 1_000_000, "row");
  }

  /** Whose poison it is, as far as the envelope can be read. */
  static String claimedTenant(Map<String, byte[]> headers) {
    byte[] raw = headers.getOrDefault("ce_tenant", new byte[0]);
    String text = new String(raw, StandardCharsets.UTF_8);
    return raw.length <= 256 && text.indexOf('\ufffd') < 0 && text.indexOf('\0') < 0 ? text : "";
  }

  private Events() {}
}
