# Runs the program over the vectors of docs/vectors.json that have its formats.

require_relative "examples/receiver"

FixedKeys = Struct.new(:keys) do
  def all(_)
    keys
  end
end

file = JSON.parse(File.read(File.join(__dir__, "../../../docs/vectors.json")))
count = 0
wrong = file["vectors"].select do |vector|
  settings, request = vector.values_at("receiver", "request")
  is_jws = vector["format"] == "jws" && settings.key?("keySet")
  next unless is_jws || (vector["format"] == "standard-webhooks" && settings.key?("secrets"))

  count += 1
  keys = FixedKeys.new(file["keySets"].fetch(settings["keySet"], {})["keys"])
  is_accepted = (is_jws ? [nil] : settings["secrets"]).any? do |secret|
    receiver = Receiver.new(
      keys: keys, url: settings["url"], secret: secret, algorithm: settings["algorithm"], now: -> { vector["now"] }
    )
    query = request["url"].partition("?").last
    headers = request["headers"].to_h.transform_keys(&:downcase)
    receiver.verify(headers, Base64.strict_decode64(request["body"]), method: request["method"], query: query)
    true
  rescue Refused
    false
  end
  is_accepted != vector["expected"]["accepted"]
end
wrong.each { |vector| warn "#{vector["name"]}: judged wrongly" }
puts "#{count} vectors"
exit wrong.empty? && count >= 60
