# Receives webhooks with Ruby and its standard library: `ruby receiver.rb`. Verifies JWS, and `v1` of Standard Webhooks.
# With Rails or Sinatra, call `Receiver#verify` with `request.body.read` before anything reads `params`.

require "base64"
require "json"
require "net/http"
require "openssl"
require "socket"

class Refused < StandardError; end
class KeysUnavailable < StandardError; end

# A tenant's keys, from the endpoint's `jwksUrl`. All threads share one copy, and one of them fetches at a time.
class Keys
  def initialize(url)
    @url, @mutex, @keys, @fetched, @expires = URI(url), Mutex.new, nil, -2.0, -1.0
  end

  # Returns the keys. `is_again` asks for newer ones, and gets them at most every two seconds.
  def all(is_again)
    @mutex.synchronize do
      now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
      fetch(now) if (is_again || now >= @expires) && now - @fetched >= 2
      @keys or raise KeysUnavailable, "the keys could not be fetched"
    end
  end

  private

  def fetch(now)
    @fetched = now
    http = { use_ssl: @url.scheme == "https", open_timeout: 3, read_timeout: 3 }
    answer = Net::HTTP.start(@url.host, @url.port, **http) { |one| one.get(@url.request_uri) }
    return unless answer.code == "200"

    @keys = JSON.parse(answer.body).fetch("keys")
    @expires = now + (answer["cache-control"].to_s[/max-age=([0-9]{1,6})/, 1] || 300).to_i
  rescue SystemCallError, IOError, SocketError, Timeout::Error, OpenSSL::SSL::SSLError, JSON::ParserError, KeyError => error
    warn "keys: #{error.message}" # The old copy serves on.
  end
end

class Receiver
  # `url` is the endpoint's `url`, `secret` its `signingSecret`, and `algorithm` its `jwsAlgorithm`, by default the key's own.
  def initialize(keys:, url:, secret: nil, algorithm: nil, now: -> { Time.now.to_i })
    @keys, @url, @secret, @algorithm, @now = keys, url, secret, algorithm, now
  end

  # Verifies all signatures that it knows. `headers` have names in lower case, and `body` is the bytes as they arrived.
  def verify(headers, body, method: "POST", query: "")
    payload = method == "GET" ? payload_of_get(query) : body
    jws, webhook = headers["jws-signature"], headers["webhook-signature"]
    webhook = nil unless @secret
    raise Refused, "no signature to verify; pass all headers on" unless jws || webhook

    verify_jws(jws, payload) if jws
    verify_standard_webhook(webhook, headers, payload) if webhook
  end

  private

  # The payload of a GET is the query after that of the endpoint's own URL.
  def payload_of_get(query)
    own = @url.to_s.partition("?").last
    starts = !own.empty? && (query == own || query.start_with?("#{own}&"))
    starts ? query[(own.length + 1)..].to_s : query
  end

  def verify_jws(text, payload)
    protected_header, middle, signature = text.split(".", -1)
    raise Refused, "`jws-signature` is not `<header>..<signature>`" unless middle == "" && text.count(".") == 2

    header = JSON.parse(base64url(protected_header))
    raise Refused, "the header of the JWS is not an object" unless header.is_a?(Hash) && !header.key?("crit")

    signature = base64url(signature)
    key = key_of(header["kid"])
    is_right = header["alg"] == key["alg"] && [nil, header["alg"]].include?(@algorithm)
    raise Refused, "`alg` is not that of the endpoint" unless is_right
    return if fits?(key, "#{protected_header}.#{Base64.urlsafe_encode64(payload, padding: false)}", signature)

    raise Refused, "the JWS does not fit the payload; verify the bytes as they arrived, before any JSON parser"
  rescue JSON::ParserError, ArgumentError
    raise Refused, "`jws-signature` is not base64url without padding"
  end

  def verify_standard_webhook(entries, headers, payload)
    id, timestamp = headers.values_at("webhook-id", "webhook-timestamp").map(&:to_s)
    is_there = !id.empty? && timestamp.match?(/\A[0-9]{1,15}\z/)
    raise Refused, "`webhook-id` or `webhook-timestamp` is missing; pass all headers on" unless is_there
    raise Refused, "it was signed more than five minutes ago, or in the future" if (@now.call - timestamp.to_i).abs > 300

    mac = OpenSSL::HMAC.digest("SHA256", Base64.strict_decode64(@secret.delete_prefix("whsec_")), "#{id}.#{timestamp}.".b + payload.b)
    expected = "v1,#{Base64.strict_encode64(mac)}"
    return if entries.split.any? { |entry| OpenSSL.secure_compare(entry, expected) }

    raise Refused, "no `v1` fits the payload; verify the bytes as they arrived, before any JSON parser"
  end

  # Finds the one key that a signature names. A key with an endpoint signs `v1a` only.
  def key_of(kid)
    [false, true].each do |is_again|
      key = @keys.all(is_again).find { |one| one["kid"] == kid && !one.key?("endpoint") }
      return key if key
    end
    raise Refused, "no key has the `kid`"
  end

  def fits?(key, message, signature)
    number = ->(name) { OpenSSL::ASN1::Integer(OpenSSL::BN.new(base64url(key[name]), 2)) }
    sequence = ->(*items) { OpenSSL::ASN1::Sequence(items) }
    algorithm = ->(*names) { sequence.(*names.map { |name| OpenSSL::ASN1::ObjectId(name) }) }
    parts, bits, digest = case key["alg"]
                          when "RS256" then [sequence.(OpenSSL::ASN1::ObjectId("rsaEncryption"), OpenSSL::ASN1::Null(nil)),
                                             sequence.(number.("n"), number.("e")).to_der, "SHA256"]
                          when "ES256" then [algorithm.("id-ecPublicKey", "prime256v1"),
                                             "\x04".b + base64url(key["x"]) + base64url(key["y"]), "SHA256"]
                          when "EdDSA" then [algorithm.("ED25519"), base64url(key["x"]), nil]
                          else return false
                          end
    if key["alg"] == "ES256" # A JWS has r and s of 32 bytes each, and openssl wants DER.
      return false unless signature.bytesize == 64

      halves = signature.unpack("a32a32").map { |half| OpenSSL::ASN1::Integer(OpenSSL::BN.new(half, 2)) }
      signature = sequence.(*halves).to_der
    end
    OpenSSL::PKey.read(sequence.(parts, OpenSSL::ASN1::BitString(bits)).to_der).verify(digest, signature, message)
  rescue OpenSSL::PKey::PKeyError
    false # The bytes are not a signature.
  end

  def base64url(text)
    bytes = Base64.urlsafe_decode64(text.to_s)
    raise ArgumentError, "padding" unless Base64.urlsafe_encode64(bytes, padding: false) == text

    bytes
  end
end

# A small HTTP server, because Ruby has none since 3.0. Your framework takes its place.
def serve(receiver, port)
  server = TCPServer.new("127.0.0.1", port)
  loop { Thread.new(server.accept) { |socket| answer(receiver, socket) } }
end

def answer(receiver, socket)
  method, target, = socket.gets("\r\n").to_s.split
  return unless target # The caller has sent nothing.

  headers = {}
  while (line = socket.gets("\r\n", chomp: true)&.scrub("?")) && !line.empty?
    name, value = line.split(":", 2)
    headers[name.downcase] = value.strip
  end
  body = socket.read(headers["content-length"].to_i) || "" # The bytes as they arrived.
  receiver.verify(headers, body, method: method, query: target.partition("?").last)
  puts "event #{headers["webhook-id"]}" # Your work, in one transaction with the id.
  socket.write("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
rescue Refused => error
  warn "refused: #{error.message}"
  socket.write("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
rescue KeysUnavailable => error
  warn error.message
  socket.write("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
ensure
  socket.close
end

if $PROGRAM_NAME == __FILE__
  $stdout.sync = true
  keys = Keys.new(ENV.fetch("JWKS_URL"))
  receiver = Receiver.new(keys: keys, url: ENV.fetch("ENDPOINT_URL"), secret: ENV["SECRET"], algorithm: ENV["ALGORITHM"])
  serve(receiver, ENV.fetch("PORT", "3000").to_i)
end
